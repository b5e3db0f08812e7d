/* SPDX-License-Identifier: MIT */
/*
 * The way of a request through the store: export and its allow lists, index, tree. On a hit: one lookup, openat2,
 * fstat; no lock, no allocation. No pointer into the index is held across a system call.
 */
#include "storage/store.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/pagecache.h"
#include "storage/catalog.h"
#include "storage/counters.h"
#include "storage/kept.h"
#include "storage/name.h"
#include "storage/sync.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How often a name is looked at again whose file is exchanged between the look and the opening. */
#define ATTEMPTS 3

struct objm_store {
        struct objm_counters counters;
        struct objm_catalog catalog;
        struct objm_sync *sync; /* NULL: the index only learns */
        uint64_t born;          /* ns; with the address, tells it from one that was here before */
};

struct request {
        const char *uri;
        size_t len;
        const struct objm_export *export;
        bool nowait;
        char path[OBJM_URI_MAX]; /* below the export, terminated; a prefix has at least one byte */
};

/* Nothing about a name is said, not even whether it could be one, to a peer that may not use its export. */
static int admit(struct request *q, const struct objm_store *s, const struct objm_peer *peer, const void *uri,
                 size_t len, unsigned flags)
{
        if (len == 0 || len > OBJM_URI_MAX)
                return OBJM_STORE_INVALID;
        q->export = objm_exports_find(&s->catalog.exports, uri, len);
        if (!q->export)
                return OBJM_STORE_NO_EXPORT;
        if (!objm_export_allows(q->export, peer))
                return OBJM_STORE_DENIED;
        q->uri = uri;
        q->len = len;
        q->nowait = flags & OBJM_STORE_NOWAIT;
        len -= q->export->prefix_len;
        memcpy(q->path, q->uri + q->export->prefix_len, len);
        q->path[len] = 0;
        return 0;
}

static size_t path_len(const struct request *q)
{
        return q->len - q->export->prefix_len;
}

/* True when the tree no longer holds what the index said. */
static bool is_gone(int r)
{
        return r == OBJM_STORE_NOT_FOUND || r == OBJM_STORE_NOT_REGULAR || r == OBJM_STORE_LINK ||
               r == OBJM_STORE_UNREADABLE;
}

static void drop(struct objm_store *s, const struct request *q)
{
        objm_catalog_forget(&s->catalog, q->uri, q->len);
        objm_counters_add(&s->counters, OBJM_COUNT_DROPPED, 1);
}

static void count(struct objm_store *s, enum objm_counter which, int r)
{
        if (r != OBJM_STORE_COLD)
                objm_counters_add(&s->counters, which, 1);
}

/* @version is what the index knows. The name is in the index, so it is a good one. */
static int open_known(struct objm_store *s, const struct request *q, uint64_t version, int *ret_fd,
                      struct objm_object_info *ret_info)
{
        struct stat st;
        int r = objm_tree_open(&q->export->tree, q->path, q->nowait, ret_fd, &st);

        if (r)
                return r;
        *ret_info = objm_tree_info(&st);
        if (objm_unlikely(ret_info->version != version))
                objm_catalog_learn(&s->catalog, q->uri, q->len, ret_info, version);
        return 0;
}

/* Opens what a look says is a regular file, and makes sure that it opened just that. */
static int open_looked_at(const struct request *q, int *ret_fd, struct stat *ret_st)
{
        int fd objm_cleanup(objm_fd_closep) = -1;
        struct stat looked;
        int r = objm_tree_look(&q->export->tree, q->path, q->nowait, &looked);

        if (r)
                return r;
        if (!S_ISREG(looked.st_mode))
                return OBJM_STORE_NOT_REGULAR;
        r = objm_tree_open(&q->export->tree, q->path, q->nowait, &fd, ret_st);
        if (r)
                return r;
        if (looked.st_dev != ret_st->st_dev || looked.st_ino != ret_st->st_ino)
                return OBJM_STORE_BUSY;
        *ret_fd = objm_fd_steal(&fd);
        return 0;
}

static int open_unknown(struct objm_store *s, const struct request *q, int *ret_fd, struct objm_object_info *ret_info)
{
        struct stat st;
        int r = (int)objm_name_check(q->path, path_len(q));

        if (r)
                return r;
        r = OBJM_STORE_BUSY;
        for (int i = 0; i < ATTEMPTS && r == OBJM_STORE_BUSY; i++)
                r = open_looked_at(q, ret_fd, &st);
        if (r)
                return r;
        *ret_info = objm_tree_info(&st);
        objm_catalog_learn(&s->catalog, q->uri, q->len, ret_info, 0);
        return 0;
}

int objm_store_open(struct objm_store *s, const struct objm_peer *peer, const void *uri, size_t len, unsigned flags,
                    int *ret_fd, struct objm_object_info *ret_info)
{
        struct request q objm_uninitialized; /* 4 KiB; admit() sets what is read */
        const struct objm_entry *e;
        int r = admit(&q, s, peer, uri, len, flags);

        if (r)
                return r;
        e = objm_index_find(s->catalog.index, uri, len);
        if (e) {
                r = open_known(s, &q, e->info.version, ret_fd, ret_info);
                if (!is_gone(r)) {
                        count(s, OBJM_COUNT_HIT, r);
                        return r;
                }
                drop(s, &q);
        }
        r = open_unknown(s, &q, ret_fd, ret_info);
        count(s, OBJM_COUNT_MISS, r);
        return r;
}

static int stat_tree(const struct request *q, struct objm_object_info *ret_info)
{
        struct stat st;
        int r = (int)objm_name_check(q->path, path_len(q));

        if (r == 0)
                r = objm_tree_look(&q->export->tree, q->path, q->nowait, &st);
        if (r)
                return r;
        if (!S_ISREG(st.st_mode))
                return OBJM_STORE_NOT_REGULAR;
        *ret_info = objm_tree_info(&st);
        return 0;
}

/* What stands behind an allowed symlink changes without a word from the directory that holds the link. */
static bool answers_from_index(const struct objm_store *s, const struct objm_export *e)
{
        return s->sync && objm_sync_in_step(s->sync) && !e->follow_symlinks;
}

static bool stat_index(struct objm_store *s, const struct request *q, struct objm_object_info *ret_info)
{
        const struct objm_entry *e;

        if (!answers_from_index(s, q->export))
                return false;
        e = objm_index_find(s->catalog.index, q->uri, q->len);
        if (!e || !objm_catalog_is_reported(&s->catalog, e))
                return false;
        *ret_info = e->info;
        return true;
}

void objm_store_expect(struct objm_store *s, struct objm_store_name *names, unsigned n)
{
        objm_index_expect(s->catalog.index, names, n);
}

bool objm_store_find(struct objm_store *s, const struct objm_peer *peer, const struct objm_store_name *name,
                     struct objm_object_info *ret_info)
{
        const struct objm_export *export = objm_exports_find(&s->catalog.exports, name->uri, name->len);
        const struct objm_entry *e;

        if (!export || !answers_from_index(s, export) || !objm_export_allows(export, peer))
                return false;
        e = objm_index_find_hashed(s->catalog.index, name->hash, name->uri, name->len);
        if (!e || !objm_catalog_is_reported(&s->catalog, e))
                return false;
        *ret_info = e->info;
        return true;
}

void objm_store_found(struct objm_store *s, unsigned n)
{
        if (n)
                objm_counters_add(&s->counters, OBJM_COUNT_HIT, n);
}

int objm_store_stat(struct objm_store *s, const struct objm_peer *peer, const void *uri, size_t len, unsigned flags,
                    struct objm_object_info *ret_info)
{
        struct request q objm_uninitialized;
        int r = admit(&q, s, peer, uri, len, flags);

        if (r)
                return r;
        if (stat_index(s, &q, ret_info)) {
                count(s, OBJM_COUNT_HIT, 0);
                return 0;
        }
        r = stat_tree(&q, ret_info);
        count(s, OBJM_COUNT_MISS, r);
        return r;
}

/* What was kept of another store's names is not this one's. */
static void adopt(const struct objm_store *s, struct objm_kept *k)
{
        if (k->store == s && k->store_born == s->born)
                return;
        objm_kept_clear(k);
        k->checked = 0;
        k->store = s;
        k->store_born = s->born;
}

static bool all_known(const struct objm_store *s, struct objm_kept *k)
{
        if (k->checked < k->needed) {
                k->checked = k->mark;
                k->current = objm_sync_is_current(s->sync);
        }
        return k->current;
}

static bool is_still(const struct objm_kept_slot *slot)
{
        struct stat st;

        return fstat(slot->fd, &st) == 0 && st.st_ctim.tv_sec == slot->ctime.tv_sec &&
               st.st_ctim.tv_nsec == slot->ctime.tv_nsec && (uint64_t)st.st_size == slot->info.size;
}

/* Into memory, if the object is small and all of it in the page cache. */
static void read_bytes(const struct objm_kept *k, struct objm_kept_slot *slot)
{
        size_t size = (size_t)slot->info.size;

        if (slot->info.size > k->max.memory)
                return;
        if (!slot->bytes)
                slot->bytes = malloc(size ? size : 1);
        if (!slot->bytes || objm_pagecache_read_again(slot->fd, slot->bytes, size, 0, &slot->no_disk) == (ssize_t)size)
                return;
        free(slot->bytes);
        slot->bytes = NULL;
}

/* First read, then asked whether it has changed: who writes has changed the ctime before the first byte. */
static bool is_fresh(const struct objm_kept *k, struct objm_kept_slot *slot)
{
        if (slot->bytes && k->now - slot->read_at < OBJM_KEPT_FRESH_NS)
                return true;
        read_bytes(k, slot);
        slot->read_at = k->now;
        return is_still(slot);
}

/* Is the slot's file what an opening would find? What is not known for sure stays kept. */
static bool is_true(struct objm_store *s, struct objm_kept *k, struct objm_kept_slot *slot)
{
        if (!all_known(s, k))
                return false;
        if (!objm_kept_is_old(k, slot) &&
            objm_epoch_same(slot->epoch, objm_epochs_of(&s->catalog.epochs, slot->hash)) && is_fresh(k, slot))
                return true;
        objm_kept_drop(k, slot);
        return false;
}

/* The counts are taken first: a directory made in between, which nobody watches yet, has then raised them. */
static void wish(struct objm_store *s, struct objm_kept *k, uint64_t hash, const void *uri, size_t len)
{
        const struct objm_entry *entry = objm_index_find(s->catalog.index, uri, len);

        if (!entry || entry->info.size > k->max.size)
                return;
        k->wish.epoch = objm_epochs_of(&s->catalog.epochs, hash);
        k->wish.hash = hash;
        k->wish.len = len;
        if (objm_kept_want(k, hash) && objm_sync_is_current(s->sync))
                k->wish.uri = uri;
}

bool objm_store_find_kept(struct objm_store *s, struct objm_kept *k, const struct objm_peer *peer, const void *uri,
                          size_t len, struct objm_kept_object *ret)
{
        const struct objm_export *e = len <= OBJM_URI_MAX ? objm_exports_find(&s->catalog.exports, uri, len) : NULL;
        struct objm_kept_slot *slot;
        uint64_t hash;

        adopt(s, k);
        k->wish.uri = NULL;
        if (!s->sync || !e || e->follow_symlinks || !objm_export_allows(e, peer))
                return false;
        hash = objm_index_hash(s->catalog.index, uri, len);
        slot = objm_kept_look(k, hash, uri, len);
        if (!slot || !is_true(s, k, slot)) {
                if (!slot || !slot->key)
                        wish(s, k, hash, uri, len);
                return false;
        }
        slot->used = true;
        *ret = (struct objm_kept_object){.fd = slot->fd, .bytes = slot->bytes, .info = slot->info};
        count(s, OBJM_COUNT_HIT, 0);
        return true;
}

/* The index knows it by scan or watch, in a directory that is watched. */
static bool is_reported(struct objm_store *s, const void *uri, size_t len, uint64_t version)
{
        const struct objm_entry *entry = objm_index_find(s->catalog.index, uri, len);

        return entry && entry->info.version == version && objm_catalog_is_reported(&s->catalog, entry);
}

bool objm_store_keep(struct objm_store *s, struct objm_kept *k, const void *uri, size_t len, int fd,
                     const struct objm_object_info *info)
{
        const struct objm_export *e;
        struct timespec ctime;

        if (!k->wish.uri || k->wish.uri != uri || k->wish.len != len || info->size > k->max.size ||
            k->wish.hash != objm_index_hash(s->catalog.index, uri, len))
                return false;
        e = objm_exports_find(&s->catalog.exports, uri, len);
        return is_reported(s, uri, len, info->version) && objm_tree_may_keep(&e->tree, fd, info, &ctime) &&
               objm_kept_put(k, fd, &ctime, info);
}

int objm_store_new(const struct objm_store_config *config, struct objm_qsbr *qsbr, struct objm_pool *pool,
                   size_t *ret_bad, struct objm_store **ret)
{
        struct objm_store *s = aligned_alloc(OBJM_CACHE_LINE, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        memset(s, 0, sizeof(*s));
        s->born = objm_clock_ns();
        r = objm_catalog_init(&s->catalog, config, qsbr, ret_bad);
        if (r == 0 && config->scan)
                r = objm_sync_new(&s->catalog, config, pool, &s->sync);
        if (r < 0) {
                objm_store_free(s);
                return r;
        }
        *ret = s;
        return 0;
}

void objm_store_free(struct objm_store *s)
{
        if (!s)
                return;
        objm_sync_free(s->sync);
        objm_catalog_deinit(&s->catalog);
        free(s);
}

int objm_store_watch_fd(const struct objm_store *s)
{
        return s->sync ? objm_sync_watch_fd(s->sync) : -1;
}

void objm_store_on_watch_ready(struct objm_store *s, void (*rearm)(void *userdata), void *userdata)
{
        if (s->sync && objm_sync_watch_fd(s->sync) >= 0)
                objm_sync_on_watch_ready(s->sync, rearm, userdata);
}

void objm_store_unwatch(struct objm_store *s)
{
        if (s->sync)
                objm_sync_unwatch(s->sync);
}

void objm_store_count(struct objm_store *s, struct objm_store_counts *ret)
{
        *ret = (struct objm_store_counts){
                .objects = objm_index_count(s->catalog.index),
                .hits = objm_counters_sum(&s->counters, OBJM_COUNT_HIT),
                .misses = objm_counters_sum(&s->counters, OBJM_COUNT_MISS),
                .dropped = objm_counters_sum(&s->counters, OBJM_COUNT_DROPPED),
        };
        if (s->sync)
                objm_sync_count(s->sync, ret);
}
