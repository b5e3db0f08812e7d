/* SPDX-License-Identifier: MIT */
#include "client/reason.h"

#include <string.h>

void objm_reason_clear(struct objmapper *om)
{
        if (om->reason)
                *om->reason = '\0';
}

void objm_reason_set(struct objmapper *om, const char *text, size_t len)
{
        if (!om->reason)
                return;
        if (len > om->reason_size - 1)
                len = om->reason_size - 1;
        for (size_t i = 0; i < len; i++)
                om->reason[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
        om->reason[len] = '\0';
}

void objm_reason_of(struct objmapper *om, const struct objm_reply *r)
{
        const char *text = (const char *)r->text, *name = objm_status_text(r->status);

        if (r->status != OBJM_STATUS_OK && text && r->text_len &&
            (r->text_len != strlen(name) || memcmp(text, name, r->text_len) != 0))
                objm_reason_set(om, text, r->text_len);
}
