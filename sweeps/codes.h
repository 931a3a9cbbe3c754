/* The codes of all diagnostics of the sweep language, each with a paragraph: `avsweep explain E034`. */
#ifndef AVS_SWEEPS_CODES_H
#define AVS_SWEEPS_CODES_H

typedef struct {
    const char *code, *title, *text;
} avs_explanation;

const avs_explanation *avs_explain(const char *code); /* NULL: no such code; case does not matter */
const avs_explanation *avs_explanations(void);        /* all, ends with code == NULL */

#endif
