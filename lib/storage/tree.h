/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_TREE_H
#define OBJM_STORAGE_TREE_H
/*
 * A directory tree behind one O_PATH descriptor. Every look at it is an openat2(2) that cannot leave it: BENEATH and
 * NO_MAGICLINKS always, NO_SYMLINKS unless symlinks inside are allowed. Paths are relative, checked, terminated.
 *
 * The calls answer a positive enum objm_store_condition where the tree says no, and negative errno where the kernel
 * or the disk could not say. With @nowait they never wait for a disk but answer COLD.
 */
#include "base/attr.h"
#include "storage/store.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct objm_tree {
        int root; /* owned */
        uint64_t resolve;
        bool has_cached; /* RESOLVE_CACHED, Linux 5.12 */
        uint64_t mount;  /* the root's; 0 where the kernel does not say */
};

/* 0, or negative errno of open(2); -ENOSYS before Linux 5.6. */
int objm_tree_init(struct objm_tree *t, const char *path, bool follow_symlinks) objm_must_check;
void objm_tree_deinit(struct objm_tree *t);

/* Opens a regular file to be read, without waiting for leases, FIFOs or terminals. The caller owns *ret_fd. */
int objm_tree_open(const struct objm_tree *t, const char *path, bool nowait, int *ret_fd,
                   struct stat *ret_st) objm_must_check;

/* What is there, whatever it is, without opening it. Asks for no rights on the file itself. */
int objm_tree_look(const struct objm_tree *t, const char *path, bool nowait, struct stat *ret_st) objm_must_check;

/* Opens a directory to be listed; "." is the root. May wait for the disk. The caller owns *ret_fd. */
int objm_tree_open_dir(const struct objm_tree *t, const char *path, int *ret_fd) objm_must_check;

/*
 * Whether a descriptor of objm_tree_open() may be kept open for a second: its file has one name and lies on the root's
 * own mount (so that no other is held), still is what @info says, and last changed so long ago that every change from
 * now on shows in its ctime.
 */
bool objm_tree_may_keep(const struct objm_tree *t, int fd, const struct objm_object_info *info,
                        struct timespec *ret_ctime);

struct objm_object_info objm_tree_info(const struct stat *st);

#endif
