/* Style sheet and script of the HTML report, made into arrays at build time from page.css and page.js. Private to this room. */
#ifndef AVS_RESULTS_PAGE_H
#define AVS_RESULTS_PAGE_H

#include <stddef.h>

extern const unsigned char avs_page_css[], avs_page_js[];
extern const size_t avs_page_css_len, avs_page_js_len;

#endif
