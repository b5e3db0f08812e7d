/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_NAME_H
#define OBJM_STORAGE_NAME_H
/*
 * Which byte strings can name an object: one spelling for each, and none that the kernel would read as another path.
 */
#include "storage/store.h"

/*
 * Checks @len bytes of a path below an export: OK; INVALID for a zero byte, an empty segment (so also for an empty path
 * and a '/' at either end), "." and ".."; NOT_FOUND for a segment longer than 255 bytes, which no file can have.
 */
enum objm_store_condition objm_name_check(const void *path, size_t len);

/* True when @path is @dir or leads through it. Both are paths as above, terminated. */
bool objm_name_is_below(const char *path, const char *dir);

/* Writes @len bytes of @name so that they can stand in a log line: what is not printable ASCII as \xNN. Terminates. */
void objm_name_escape(const void *name, size_t len, char *ret, size_t size);

#endif
