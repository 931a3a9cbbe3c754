# cmake -DIN=file -DOUT=file.c -DNAME=symbol -DHEADER=header -P embed.cmake: the bytes of a file as a C array and its length.
file(READ ${IN} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR bytes "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," body "${hex}")
string(REGEX REPLACE "((0x..,){20})" "\\1\n" body "${body}")
get_filename_component(file ${IN} NAME)
file(WRITE ${OUT} "/* Made from ${file} by embed.cmake. */\n#include \"${HEADER}\"\n
const unsigned char ${NAME}[] = {\n${body}\n};\nconst size_t ${NAME}_len = ${bytes};\n")
