/* SPDX-License-Identifier: MIT */
#include "client/objmapper.h"

#include "client/call.h"
#include "protocol/v3.h"

#include <errno.h>
#include <stdlib.h>

#define TEXT_MAX (64u << 20)

/* A body cannot be awaited by anyone else. */
static int give_up(struct objmapper *om)
{
        int r = objm_call_give_up(om);

        if (om->slots.n_sent && om->state == OBJM_SESSION_READY)
                objm_session_drop(om, -ECONNRESET);
        return r;
}

struct operation {
        uint8_t op, mode;
};

static int ask(struct objmapper *om, struct operation o, uint64_t deadline, uint64_t *ret_body)
{
        struct objmapper_completion c;
        int r;

        if (om->dead)
                return om->dead;
        r = objm_slots_add_control(&om->slots, o.op, o.mode);
        if (r < 0)
                return r;
        if (objm_wait_done(om, deadline) < 0)
                return give_up(om);
        *ret_body = objm_slots_first(&om->slots.done)->body_len;
        objm_slots_take_done(&om->slots, &c, 1);
        return c.result;
}

static int receive(struct objmapper *om, char *text, size_t len, uint64_t deadline)
{
        for (size_t have = 0; have < len;) {
                ssize_t n = objm_wait_body(om, text + have, len - have, deadline);

                if (n < 0)
                        return (int)n;
                have += (size_t)n;
        }
        text[len] = '\0';
        return 0;
}

/* What comes as a body becomes om->text. */
static int take_body(struct objmapper *om, uint64_t len, uint64_t deadline)
{
        char *text = len <= TEXT_MAX ? malloc((size_t)len + 1) : NULL;
        int r = -ENOMEM;

        if (text)
                r = receive(om, text, (size_t)len, deadline);
        if (r < 0) {
                if (om->body_left)
                        objm_session_drop(om, -ECONNRESET);
                free(text);
                return r;
        }
        om->text = text;
        return 0;
}

static void forget_text(struct objmapper *om)
{
        free(om->text);
        om->text = NULL;
}

static int attempt(struct objmapper *om, struct operation o, uint64_t deadline)
{
        uint64_t body = 0;
        int r;

        forget_text(om);
        r = ask(om, o, deadline, &body);
        return r == 0 && body ? take_body(om, body, deadline) : r;
}

static int wire_operation(int operation, struct operation *ret)
{
        static const struct operation operations[] = {
                [OBJMAPPER_STATS] = {OBJM_V3_OP_STATS, OBJM_V3_STATS_JSON},
                [OBJMAPPER_RELOAD] = {OBJM_V3_OP_RELOAD, 0},
                [OBJMAPPER_DRAIN] = {OBJM_V3_OP_DRAIN, 0},
                [OBJMAPPER_STATS_CLIENTS] = {OBJM_V3_OP_STATS, OBJM_V3_STATS_CLIENTS},
                [OBJMAPPER_STATS_OPENMETRICS] = {OBJM_V3_OP_STATS, OBJM_V3_STATS_TEXT},
                [OBJMAPPER_STATS_OPENMETRICS_CLIENTS] = {OBJM_V3_OP_STATS, OBJM_V3_STATS_TEXT_CLIENTS},
        };

        if (operation < 0 || (size_t)operation >= objm_array_len(operations))
                return -EINVAL;
        *ret = operations[operation];
        return 0;
}

int objmapper_control(struct objmapper *om, int operation, char **ret_text)
{
        uint64_t deadline = objm_wait_deadline(om->timeout_ms); /* however often it is lost */
        unsigned losses = 0;
        struct operation o;
        int r = wire_operation(operation, &o);

        if (ret_text)
                *ret_text = NULL;
        if (r == 0)
                r = objm_call_begin(om);
        if (r < 0)
                return r;
        do
                r = attempt(om, o, deadline);
        while (r == -ECONNRESET && o.op == OBJM_V3_OP_STATS && !om->dead && ++losses < OBJM_SLOTS_SENDS);
        if (ret_text) {
                *ret_text = om->text;
                om->text = NULL;
        }
        forget_text(om);
        return r;
}
