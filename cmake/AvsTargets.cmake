# How a room becomes a library and a test file becomes a ctest entry.
add_library(avs_flags INTERFACE)
target_include_directories(avs_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
target_compile_options(avs_flags INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla
  -Wformat=2 -Wundef -Wdouble-promotion -Wimplicit-fallthrough -fno-math-errno -fno-trapping-math -ffp-contract=off)
target_compile_definitions(avs_flags INTERFACE _GNU_SOURCE)
if(AVS_WERROR)
  target_compile_options(avs_flags INTERFACE -Werror)
endif()
if(AVS_ASAN)
  target_compile_options(avs_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined
                         -fno-omit-frame-pointer)
  target_link_options(avs_flags INTERFACE -fsanitize=address,undefined)
elseif(AVS_TSAN)
  target_compile_options(avs_flags INTERFACE -fsanitize=thread)
  target_link_options(avs_flags INTERFACE -fsanitize=thread)
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(avs_flags INTERFACE -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()

# avs_add_room(name FOLDERS f.. LIBS l.. [STRICT])  all *.c of the folders (main.c and main_*.c left out), one static library.
function(avs_add_room name)
  cmake_parse_arguments(R "STRICT" "" "FOLDERS;LIBS;EXCLUDE" ${ARGN})
  set(sources)
  foreach(f ${R_FOLDERS})
    file(GLOB s CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${f}/*.c)
    list(FILTER s EXCLUDE REGEX "/main(_[a-z0-9_]*)?\\.c$")
    list(APPEND sources ${s})
  endforeach()
  if(NOT sources)
    return()
  endif()
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC ${R_LIBS} PRIVATE avs_flags)
  if(R_STRICT)
    target_compile_options(${name} PRIVATE -Wconversion)
  endif()
endfunction()

# avs_add_test(file LIBS l.. LABELS x..)  one executable and one ctest entry per file; name = path below tests/.
function(avs_add_test file)
  cmake_parse_arguments(T "" "TIMEOUT" "LIBS;LABELS" ${ARGN})
  file(RELATIVE_PATH rel ${CMAKE_SOURCE_DIR}/tests ${file})
  string(REGEX REPLACE "\\.c$" "" rel ${rel})
  string(REPLACE "/" "." name ${rel})
  add_executable(${name} ${file})
  target_link_libraries(${name} PRIVATE ${T_LIBS} avs_flags cmocka)
  target_compile_definitions(${name} PRIVATE AVS_SOURCE_DIR="${CMAKE_SOURCE_DIR}" AVS_BINARY_DIR="${CMAKE_BINARY_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 300)
  endif()
  if(NOT T_LABELS)
    set(T_LABELS unit)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${T_LABELS}" TIMEOUT ${T_TIMEOUT}
    ENVIRONMENT "ASAN_OPTIONS=detect_leaks=1;UBSAN_OPTIONS=print_stacktrace=1")
endfunction()

# generated/avs_version.h; link avs_version to include it.
string(TOUPPER "${CMAKE_BUILD_TYPE}" avs_build_type)
add_custom_target(avs_version_header
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DVERSION=${PROJECT_VERSION} -DBUILD_TYPE=${CMAKE_BUILD_TYPE}
          "-DFLAGS=${CMAKE_BUILD_TYPE} ${CMAKE_C_FLAGS} ${CMAKE_C_FLAGS_${avs_build_type}}"
          "-DCOMPILER=${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}" -DOUT=${CMAKE_BINARY_DIR}/generated/avs_version.h
          -P ${CMAKE_SOURCE_DIR}/cmake/write_version.cmake
  BYPRODUCTS ${CMAKE_BINARY_DIR}/generated/avs_version.h COMMENT "version header")
add_library(avs_version INTERFACE)
target_include_directories(avs_version INTERFACE ${CMAKE_BINARY_DIR}/generated)
add_dependencies(avs_version avs_version_header)
