/* SPDX-License-Identifier: MIT */
#ifndef OBJMAP_RESUME_H
#define OBJMAP_RESUME_H
/*
 * What a file that is not complete yet is a part of: the object's version and URI, in a file of its own, FILE.part,
 * which is there as long as FILE is not complete.
 */
#include <stdint.h>

struct resume {
        char *path; /* FILE.part */
        const char *uri;
};

/* 0 or -ENOMEM. @uri is borrowed. */
int resume_init(struct resume *r, const char *file, const char *uri);
void resume_deinit(struct resume *r);

/* The version that was begun with; 0: of another object. -ENOENT: nothing was begun; or another negative errno. */
int resume_load(const struct resume *r, uint64_t *ret_version);

/* 0 or negative errno. */
int resume_save(const struct resume *r, uint64_t version);

/* The file is complete. */
void resume_forget(const struct resume *r);

#endif
