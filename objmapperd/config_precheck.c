/* SPDX-License-Identifier: MIT */
#include "config_precheck.h"
#include "base/fd.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX  (1 << 20)
#define DEPTH_MAX 10 /* libconfig's own limit */

/* One file's text, ends in NUL; @at walks through it. */
struct scan {
        const char *path, *dir;
        struct config_error *err;
        unsigned depth, line;
        const char *at;
};

static int fail(const struct scan *s, int error, const char *what)
{
        snprintf(s->err->text, sizeof(s->err->text), "%s:%u: %s", s->path, s->line, what);
        return error;
}

static int check_file(const char *path, const char *dir, unsigned depth, struct config_error *err);

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '*' || c == '-';
}

static void skip_line(struct scan *s)
{
        s->at += strcspn(s->at, "\n");
}

static void skip_comment(struct scan *s)
{
        for (s->at += 2; *s->at && !(s->at[0] == '*' && s->at[1] == '/'); s->at++)
                s->line += *s->at == '\n';
        s->at += *s->at ? 2 : 0;
}

static void skip_string(struct scan *s)
{
        for (s->at++; *s->at && *s->at != '"'; s->at++) {
                if (s->at[0] == '\\' && s->at[1] != '\0')
                        s->at++;
                s->line += *s->at == '\n';
        }
        s->at += *s->at ? 1 : 0;
}

/* Digits in base 10 or 16 at s->at; ERANGE-free: a value that does not fit becomes UINT64_MAX. */
static uint64_t take_digits(struct scan *s, unsigned base)
{
        static const char digits[] = "0123456789abcdef";
        uint64_t value = 0;

        for (;; s->at++) {
                const char *d = *s->at ? memchr(digits, *s->at | (base == 16 && *s->at >= 'A' ? 0x20 : 0), base) : NULL;

                if (!d)
                        return value;
                if (__builtin_mul_overflow(value, base, &value) ||
                    __builtin_add_overflow(value, (uint64_t)(d - digits), &value))
                        return s->at += strspn(s->at, digits), UINT64_MAX;
        }
}

/* An integer must fit in 32 bits, or in 64 with an L behind it. Floating-point numbers are not our business. */
static int check_number(struct scan *s)
{
        bool hex = s->at[0] == '0' && (s->at[1] == 'x' || s->at[1] == 'X');
        uint64_t value;

        s->at += hex ? 2 : 0;
        value = take_digits(s, hex ? 16 : 10);
        if (*s->at == 'L') {
                s->at += strspn(s->at, "L");
                return value > INT64_MAX ? fail(s, -EINVAL, "integer too large") : 0;
        }
        if (!hex && (*s->at == '.' || *s->at == 'e' || *s->at == 'E')) {
                s->at += strspn(s->at, "0123456789.eE+-");
                return 0;
        }
        if (value > INT32_MAX)
                return fail(s, -EINVAL, "integer over 2147483647: must end in L");
        return 0;
}

/* s->at is at an '@' that only blanks precede in its line. */
static int check_include(struct scan *s)
{
        char path[PATH_MAX];
        const char *name;
        size_t len;

        s->at += strlen("@include");
        s->at += strspn(s->at, " \t");
        if (*s->at != '"')
                return fail(s, -EINVAL, "syntax error");
        name = ++s->at;
        len = strcspn(name, "\"\\\n");
        if (name[len] != '"' || len == 0)
                return fail(s, -EINVAL, "@include: not a file name");
        if (*name == '/')
                return fail(s, -EINVAL, "@include: must be relative to the directory of the main file");
        if (s->depth == DEPTH_MAX)
                return fail(s, -EINVAL, "@include: nested too deep");
        if ((size_t)snprintf(path, sizeof(path), "%s/%.*s", s->dir, (int)len, name) >= sizeof(path))
                return fail(s, -ENAMETOOLONG, "@include: name too long");
        s->at = name + len + 1;
        return check_file(path, s->dir, s->depth + 1, s->err);
}

static bool starts_line(const struct scan *s, const char *text)
{
        const char *p = s->at;

        while (p > text && (p[-1] == ' ' || p[-1] == '\t'))
                p--;
        return p == text || p[-1] == '\n';
}

static int check_token(struct scan *s, const char *text)
{
        char c = *s->at;

        if (c == '#' || (c == '/' && s->at[1] == '/'))
                return skip_line(s), 0;
        if (c == '/' && s->at[1] == '*')
                return skip_comment(s), 0;
        if (c == '"')
                return skip_string(s), 0;
        if (c == '@' && starts_line(s, text) && strncmp(s->at, "@include", 8) == 0)
                return check_include(s);
        if (is_digit(c))
                return check_number(s);
        if (is_name(c) && c != '-') {
                while (is_name(*s->at))
                        s->at++;
                return 0;
        }
        s->line += c == '\n';
        s->at++;
        return 0;
}

static int check_text(struct scan *s)
{
        const char *text = s->at;

        while (*s->at) {
                int e = check_token(s, text);

                if (e < 0)
                        return e;
        }
        return 0;
}

/* Reads the whole of a regular file; *ret is the caller's to free and ends in NUL. */
static int read_text(const char *path, char **ret)
{
        int fd objm_cleanup(objm_fd_closep) = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        char *text objm_cleanup(objm_freep) = NULL;
        struct stat st;
        size_t len = 0;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
        if (st.st_size > FILE_MAX)
                return -EFBIG;
        text = malloc(FILE_MAX + 1);
        if (!text)
                return -ENOMEM;
        while (len < FILE_MAX && (n = read(fd, text + len, FILE_MAX - len)) != 0) {
                if (n < 0)
                        return -errno;
                len += (size_t)n;
        }
        text[len] = '\0';
        if (strlen(text) != len)
                return -EINVAL;
        *ret = text;
        text = NULL;
        return 0;
}

static int check_file(const char *path, const char *dir, unsigned depth, struct config_error *err)
{
        struct scan s = {.path = path, .dir = dir, .err = err, .depth = depth, .line = 1};
        char *text objm_cleanup(objm_freep) = NULL;
        int e = read_text(path, &text);

        if (e < 0) {
                snprintf(err->text, sizeof(err->text), "%s: %s", path,
                         e == -EINVAL ? "not a text file" : strerrordesc_np(-e));
                return e;
        }
        s.at = text;
        return check_text(&s);
}

int config_precheck(const char *path, const char *dir, struct config_error *err)
{
        return check_file(path, dir, 0, err);
}
