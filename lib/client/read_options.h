/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CLIENT_READ_OPTIONS_H
#define OBJM_CLIENT_READ_OPTIONS_H
/*
 * What the caller of a read asks for, as the request table has it.
 */
#include "base/attr.h"
#include "client/slots.h"

/* @options may be NULL. Sets all but the buffer; range_length 0: to the end. 0 or -EINVAL. */
int objm_read_options_decode(const struct objmapper_read_options *options, struct objm_slots_read *ret) objm_must_check;

#endif
