/* SPDX-License-Identifier: MIT */
/*
 * What jemalloc reads before main(); MALLOC_CONF in the environment comes after it. By itself it makes four arenas for
 * each CPU, each of which takes some 100 KB as soon as a thread uses it, and threads are given to them as they come:
 * how much memory a daemon had was chance. Requests take none, connections little, and what they take comes from the
 * threads' own caches: with two arenas as good as nobody was seen to wait for one, while clients came and went as fast
 * as they could.
 *
 * A build without jemalloc has no use for it.
 */
extern const char *malloc_conf;

__attribute__((visibility("default"))) const char *malloc_conf = "narenas:2";
