/* SPDX-License-Identifier: MIT */
#ifndef OBJM_STORAGE_CATALOG_H
#define OBJM_STORAGE_CATALOG_H
/*
 * The index and the trees that it tells of, and the rules by which it stays true to them.
 *
 * An entry is hearsay (generation 0) when only a request has found it: good for opening, which checks it anyway. Scan
 * and watch mark what they see with the current generation, an even number, plus 1 when every change to the file will
 * be reported: its directory was watched under that path before the look. While the index is in step, such an entry is
 * taken at its word. Changes through another hard link are not reported, so a file that has several names is never
 * marked so.
 *
 * What a scan saw may be old by the time it reaches the index. So it reads `changes`, looks, writes, and looks again if
 * `changes` has moved. Who handles the events of the watch (one thread at a time) raises `changes` before he looks, and
 * needs no such check: a later change is a later event.
 */
#include "base/attr.h"
#include "storage/entry.h"
#include "storage/epochs.h"
#include "storage/export.h"
#include "storage/index.h"
#include "storage/store.h"
#include <stdatomic.h>

struct objm_catalog {
        struct objm_exports exports;
        struct objm_index *index;
        _Atomic uint64_t changes;
        _Atomic uint16_t generation; /* even, never 0; a new one for each scan of everything */
        struct objm_epochs epochs; /* raised by the watch */
        objm_store_log_fn log;
        void *log_userdata;
};

/* A URI being put together from an export's prefix and a path below it. */
struct objm_uri {
        size_t len;
        char bytes[OBJM_URI_MAX];
};

int objm_catalog_init(struct objm_catalog *c, const struct objm_store_config *config, struct objm_qsbr *qsbr,
                      size_t *ret_bad) objm_must_check;
void objm_catalog_deinit(struct objm_catalog *c);

/* False when it does not fit. An empty @dir is the root. */
bool objm_uri_join(struct objm_uri *u, const struct objm_export *e, const char *dir, const char *name);

/* True when requests for this URI go to @e, not to an export with a longer prefix. */
bool objm_catalog_owns(const struct objm_catalog *c, const struct objm_export *e, const struct objm_uri *u);

/*
 * A request saw @info at that URI, for which it had found version @seen in the index (0: nothing). Does not replace
 * what scan or watch have put there since. Out of memory: it is just not learned.
 */
void objm_catalog_learn(struct objm_catalog *c, const void *uri, size_t len, const struct objm_object_info *info,
                        uint64_t seen);

/* Scan or watch did, in a directory that is or is not @watched. 0 or -ENOMEM. */
int objm_catalog_confirm(struct objm_catalog *c, const struct objm_uri *u, const struct stat *st, bool watched);

void objm_catalog_forget(struct objm_catalog *c, const void *uri, size_t len);
bool objm_catalog_is_reported(const struct objm_catalog *c, const struct objm_entry *e);

/* True when the last scan of everything, or the watch since then, has seen it. */
bool objm_catalog_is_current(const struct objm_catalog *c, const struct objm_entry *e);

/* Before a scan of everything. Only one thread at a time. */
void objm_catalog_next_generation(struct objm_catalog *c);

/* One line for people. @priority as syslog(3). */
void objm_catalog_log(const struct objm_catalog *c, int priority, const char *format, ...) objm_printf(3, 4);

/* The same with the name of a file in front, escaped. */
void objm_catalog_log_name(const struct objm_catalog *c, int priority, const struct objm_export *e, const char *path,
                           const char *text);

#endif
