/* SPDX-License-Identifier: MIT */
#include "objmap/samples.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX "objmapper_"

/* "NAME{LABELS} VALUE" or "NAME VALUE"; writes into it. */
static int parse_line(char *line, struct sample *ret)
{
        char *value = strrchr(line, ' '), *labels = strchr(line, '{'), *end;

        if (!value)
                return -1;
        *value++ = '\0';
        ret->name = line;
        ret->labels = "";
        if (labels && labels < value) {
                *labels++ = '\0';
                end = strrchr(labels, '}');
                if (!end)
                        return -1;
                *end = '\0';
                ret->labels = labels;
        }
        ret->value = strtod(value, &end);
        return *end || end == value ? -1 : 0;
}

static size_t count_lines(const char *text)
{
        size_t n = 1;

        for (; *text; text++)
                n += *text == '\n';
        return n;
}

int samples_parse(char *take_text, struct samples *ret)
{
        struct samples s = {.text = take_text};
        char *save = NULL;

        if (take_text)
                s.item = calloc(count_lines(take_text), sizeof(*s.item));
        if (!s.item) {
                samples_free(&s);
                return -1;
        }
        for (char *line = strtok_r(take_text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                if (line[0] == '#')
                        continue;
                if (parse_line(line, &s.item[s.n++]) < 0) {
                        samples_free(&s);
                        return -1;
                }
        }
        *ret = s;
        return 0;
}

void samples_free(struct samples *s)
{
        free(s->item);
        free(s->text);
        *s = (struct samples){.n = 0};
}

bool sample_label(const struct sample *s, const char *name, char *buf, size_t cap)
{
        size_t len = strlen(name), n = 0;

        buf[0] = '\0';
        for (const char *at = s->labels; (at = strstr(at, name)); at++) {
                if ((at > s->labels && at[-1] != ',') || strncmp(at + len, "=\"", 2) != 0)
                        continue;
                for (at += len + 2; at[n] && at[n] != '"' && n + 1 < cap; n++)
                        buf[n] = at[n];
                buf[n] = '\0';
                return true;
        }
        return false;
}

bool sample_is(const struct sample *s, const char *name)
{
        return strncmp(s->name, PREFIX, strlen(PREFIX)) == 0 && strcmp(s->name + strlen(PREFIX), name) == 0;
}

double samples_get(const struct samples *s, const char *name, const char *labels)
{
        for (size_t i = 0; i < s->n; i++)
                if (sample_is(&s->item[i], name) && (!labels || strcmp(s->item[i].labels, labels) == 0))
                        return s->item[i].value;
        return 0;
}
