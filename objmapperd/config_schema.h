/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_CONFIG_SCHEMA_H
#define OBJMAPPERD_CONFIG_SCHEMA_H
/*
 * Which keys the configuration file may have, what they take and where their values go. The tables are the only place
 * that names a key: the reader, the command line's checks and the check of the manual page go by them. The entries of
 * `listen` and `exports` are lists of groups and stand in config_entries.h.
 */
#include "config.h"

enum config_type {
        CONFIG_BOOLEAN,     /* bool */
        CONFIG_NUMBER,      /* uint32_t, min..max */
        CONFIG_BYTES,       /* uint32_t, min..max; an integer or a string such as "4K" */
        CONFIG_DURATION,    /* uint64_t, ns, up to max seconds; an integer (seconds) or a string such as "500ms" */
        CONFIG_GIDS,        /* struct config_ids; a list of numbers or names of groups */
        CONFIG_ENDPOINT,    /* char *; a path that begins with '/', "ADDRESS:PORT" in numbers, or "": NULL */
        CONFIG_CHOICE,      /* int, one of the words of a config_choice table */
        CONFIG_UNSUPPORTED, /* no value but false, 0 or "" is taken: a later version's feature */
};

struct config_choice {
        const char *word;
        int value;
};

struct config_key {
        const char *name;
        enum config_type type;
        size_t offset; /* in struct config */
        uint32_t min, max;
        const struct config_choice *choices; /* ends with a NULL word */
};

struct config_group {
        const char *name;
        const struct config_key *keys;
        size_t n_keys;
};

/* NULL: no such group, or no such key in it. */
const struct config_group *config_schema_group(const char *name);
const struct config_key *config_schema_key(const struct config_group *group, const char *name);

/* The choice called @word, or NULL. */
const struct config_choice *config_choice_find(const struct config_choice *choices, const char *word);

#endif
