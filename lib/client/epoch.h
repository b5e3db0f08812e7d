/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_EPOCH_H
#define OBJM_CLIENT_EPOCH_H
/*
 * Tells a process from its parent without a system call: a number that stays the same as long as the process lives and
 * differs after fork(2), also after a raw clone(2) that no atfork handler sees. Any thread may ask.
 */
#include <stdint.h>

uint64_t objm_epoch(void);

#endif
