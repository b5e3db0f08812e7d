/* SPDX-License-Identifier: MIT */
#ifndef OBJMAP_SAMPLES_H
#define OBJMAP_SAMPLES_H
/*
 * The samples of an OpenMetrics text, as the daemon writes it.
 */
#include <stdbool.h>
#include <stddef.h>

struct sample {
        const char *name;   /* with its suffix: "objmapper_requests_total" */
        const char *labels; /* "a=\"b\",c=\"d\"", or empty */
        double value;
};

struct samples {
        char *text; /* owned; the samples point into it */
        struct sample *item;
        size_t n;
};

/* Takes @take_text (malloc(3)) in any case. 0, or -1: out of memory, or not such a text. */
int samples_parse(char *take_text, struct samples *ret);
void samples_free(struct samples *s);

/* The value of label @name as written, cut to @cap; false: there is none, and @buf is empty. */
bool sample_label(const struct sample *s, const char *name, char *buf, size_t cap);

/* Is it of @name, "objmapper_" left out? */
bool sample_is(const struct sample *s, const char *name);

/* The value of the sample with this name and these labels, 0 if there is none. NULL: the first with the name. */
double samples_get(const struct samples *s, const char *name, const char *labels);

#endif
