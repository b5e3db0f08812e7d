/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_VECTOR_H
#define TESTS_UNIT_VECTOR_H
/*
 * Golden vectors out of tests/vectors (the format is in its README). Tests run in the top directory of the tree.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VECTOR_DIR "tests/vectors"

struct vector {
        char text[4096]; /* the file; fields point into it */
        const char *name[32], *value[32];
        size_t n_fields;
        uint8_t bytes[1024];
        size_t len;
};

/* Appends the bytes that @hex names, up to a ';'. */
static inline size_t vector_hex(const char *hex, uint8_t *out, size_t at, size_t cap)
{
        unsigned byte;
        int n;

        while (sscanf(hex, " %2x%n", &byte, &n) == 1) {
                assert_true(at < cap);
                out[at++] = (uint8_t)byte;
                hex += n;
        }
        hex += strspn(hex, " ");
        assert_true(*hex == '\0' || *hex == ';');
        return at;
}

static inline void vector_line(struct vector *v, char *line)
{
        char *eq = strstr(line, " ="), *note = strchr(line, ';');

        if (*line == '#' || *line == '\0')
                return;
        if (eq == NULL || (note != NULL && note < eq)) {
                v->len = vector_hex(line, v->bytes, v->len, sizeof(v->bytes));
                return;
        }
        assert_true(v->n_fields < 32);
        *eq = '\0';
        v->name[v->n_fields] = line;
        v->value[v->n_fields++] = eq[2] == ' ' ? eq + 3 : eq + 2;
}

static inline void vector_load(struct vector *v, const char *file)
{
        char path[512], *next, *line = v->text;
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s", VECTOR_DIR, file);
        v->n_fields = v->len = 0;
        f = fopen(path, "re");
        assert_non_null(f);
        v->text[fread(v->text, 1, sizeof(v->text) - 1, f)] = '\0';
        assert_true(feof(f));
        fclose(f);
        for (; line != NULL; line = next) {
                next = strchr(line, '\n');
                if (next != NULL)
                        *next++ = '\0';
                vector_line(v, line);
        }
}

static inline const char *vector_text(const struct vector *v, const char *name)
{
        for (size_t i = 0; i < v->n_fields; i++)
                if (strcmp(v->name[i], name) == 0)
                        return v->value[i];
        return NULL;
}

/* The number in field @name, or @otherwise when the vector does not have it. */
static inline uint64_t vector_number(const struct vector *v, const char *name, uint64_t otherwise)
{
        const char *text = vector_text(v, name);

        return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

static inline bool vector_is(const struct vector *v, const char *name, const char *value)
{
        const char *text = vector_text(v, name);

        return text != NULL && strcmp(text, value) == 0;
}

/* Asserts that field @name exists and is the number @got. */
static inline void vector_assert_number(const struct vector *v, const char *name, uint64_t got)
{
        assert_non_null(vector_text(v, name));
        assert_int_equal(vector_number(v, name, 0), got);
}

/* Asserts that field @name exists and has these bytes, as text or as hex. */
static inline void vector_assert_text(const struct vector *v, const char *name, const void *data, size_t len)
{
        assert_non_null(vector_text(v, name));
        assert_int_equal(strlen(vector_text(v, name)), len);
        assert_memory_equal(vector_text(v, name), data, len);
}

static inline void vector_assert_hex(const struct vector *v, const char *name, const void *data, size_t len)
{
        uint8_t want[1024];

        assert_non_null(vector_text(v, name));
        assert_int_equal(vector_hex(vector_text(v, name), want, 0, sizeof(want)), len);
        assert_memory_equal(want, data, len);
}

/* Calls @check with every vector whose file name starts with @kind and is not one of another kind; none is an error. */
static inline void vector_each(const char *kind, const char *not_kind, void (*check)(const struct vector *v))
{
        struct vector v;
        struct dirent *e;
        DIR *dir = opendir(VECTOR_DIR);
        int n = 0;

        assert_non_null(dir);
        while ((e = readdir(dir)) != NULL) {
                if (strncmp(e->d_name, kind, strlen(kind)) != 0)
                        continue;
                if (not_kind != NULL && strncmp(e->d_name, not_kind, strlen(not_kind)) == 0)
                        continue;
                vector_load(&v, e->d_name);
                check(&v);
                n++;
        }
        closedir(dir);
        assert_true(n > 0);
}

#endif
