/* SPDX-License-Identifier: MIT */
#include "config_schema.h"
#include "base/attr.h"
#include "protocol/ring.h"
#include <string.h>
#include <syslog.h>

#define MAX_TIMEOUT_S (7 * 24 * 3600)

#define BOOLEAN(name, field)           {name, CONFIG_BOOLEAN, offsetof(struct config, field), 0, 1, NULL}
#define NUMBER(name, field, min, max)  {name, CONFIG_NUMBER, offsetof(struct config, field), min, max, NULL}
#define BYTES(name, field, min, max)   {name, CONFIG_BYTES, offsetof(struct config, field), min, max, NULL}
#define DURATION(name, field)          {name, CONFIG_DURATION, offsetof(struct config, field), 0, MAX_TIMEOUT_S, NULL}
#define CHOICE(name, field, choices)   {name, CONFIG_CHOICE, offsetof(struct config, field), 0, 0, choices}
#define GIDS(name, field)              {name, CONFIG_GIDS, offsetof(struct config, field), 0, 0, NULL}
#define ENDPOINT(name, field)          {name, CONFIG_ENDPOINT, offsetof(struct config, field), 0, 0, NULL}
#define UNSUPPORTED(name)              {name, CONFIG_UNSUPPORTED, 0, 0, 0, NULL}
#define GROUP(name, keys)              {name, keys, objm_array_len(keys)}

_Static_assert(sizeof(unsigned) == sizeof(uint32_t), "pool sizes are stored as uint32_t");
_Static_assert(sizeof(enum config_model) == sizeof(int), "the model is stored as int");

static const struct config_choice models[] = {
        {"thread-pool", CONFIG_MODEL_THREAD_POOL},
        {"thread-per-connection", CONFIG_MODEL_THREAD_PER_CONNECTION},
        {"thread-per-request", CONFIG_MODEL_THREAD_PER_REQUEST},
        {NULL, 0},
};

static const struct config_choice levels[] = {
        {"error", LOG_ERR},
        {"warning", LOG_WARNING},
        {"info", LOG_INFO},
        {"debug", LOG_DEBUG},
        {NULL, 0},
};

static const struct config_key concurrency[] = {
        CHOICE("model", model, models),
        NUMBER("pool_size", pool_size, 0, 1024),
        NUMBER("copy_pool_size", copy_pool_size, 0, 1024),
        NUMBER("max_queue_depth", max_queue_depth, 1, 1000000),
        NUMBER("max_connections", max_connections, 1, 1000000),
        NUMBER("requests_per_connection", requests_per_connection, 0, 1000000000),
        BOOLEAN("persistent", persistent),
        BOOLEAN("optimize_for_latency", optimize_for_latency),
        UNSUPPORTED("use_async_copy"),
};

static const struct config_key timeouts[] = {
        DURATION("idle", idle_ns),
        DURATION("request", request_ns),
        DURATION("drain", drain_ns),
};

static const struct config_key index_keys[] = {
        BOOLEAN("scan", scan),
        BOOLEAN("watch", watch),
};

static const struct config_key limits[] = {
        BYTES("uri_length", uri_length, 1, 4096),
        NUMBER("in_flight", in_flight, 1, 4096),
        NUMBER("connections_per_uid", connections_per_uid, 0, 1000000),
        NUMBER("descriptors", descriptors, 0, 1000000),
        NUMBER("descriptors_per_uid", descriptors_per_uid, 0, 100000000),
        BYTES("queued_bytes", queued_bytes, 0, 1U << 30),
        BYTES("queued_bytes_per_uid", queued_bytes_per_uid, 0, UINT32_MAX),
        NUMBER("requests_per_second", requests_per_second, 0, 1000000000),
        NUMBER("requests_per_second_per_uid", requests_per_second_per_uid, 0, 1000000000),
};

static const struct config_key control[] = {
        GIDS("admin_gids", admin_gids),
};

static const struct config_key ring[] = {
        BOOLEAN("enabled", ring_enabled),
        NUMBER("entries", ring_entries, OBJM_RING_ENTRIES_MIN, OBJM_RING_ENTRIES_MAX),
        BYTES("arena", ring_arena, OBJM_RING_ARENA_MIN, OBJM_RING_ARENA_MAX),
        DURATION("idle", ring_idle_ns),
};

static const struct config_key metrics[] = {
        ENDPOINT("http", http),
};

static const struct config_key security[] = {
        BOOLEAN("sandbox", sandbox),
};

static const struct config_key log_keys[] = {
        CHOICE("level", log_level, levels),
};

static const struct config_group groups[] = {
        GROUP("concurrency", concurrency), GROUP("timeouts", timeouts), GROUP("index", index_keys),
        GROUP("limits", limits),           GROUP("control", control),   GROUP("ring", ring),
        GROUP("metrics", metrics),         GROUP("security", security), GROUP("log", log_keys),
};

const struct config_group *config_schema_group(const char *name)
{
        for (size_t i = 0; i < objm_array_len(groups); i++) {
                if (strcmp(groups[i].name, name) == 0)
                        return &groups[i];
        }
        return NULL;
}

const struct config_key *config_schema_key(const struct config_group *group, const char *name)
{
        for (size_t i = 0; i < group->n_keys; i++) {
                if (strcmp(group->keys[i].name, name) == 0)
                        return &group->keys[i];
        }
        return NULL;
}

const struct config_choice *config_choice_find(const struct config_choice *choices, const char *word)
{
        for (; choices->word; choices++) {
                if (strcmp(choices->word, word) == 0)
                        return choices;
        }
        return NULL;
}
