/* SPDX-License-Identifier: MIT */
#include "objmapperd/allowance.h"

#include "objmapperd/connection.h"
#include "objmapperd/log_refused.h"
#include "transport/unix.h"

#define GRANT_MAX      64 /* tokens at a time */
#define UNREAD_FDS_MAX (1U << 30)

int allowance_open(struct server *s, const struct objm_peer *peer, uint32_t bytes, struct allowance *ret)
{
        uint32_t kernel = peer->remote ? 0 : 2 * bytes;
        struct account *account;
        int r = account_open(&s->accounts, peer, server_snapshot(s)->config, kernel, &account);

        if (r == 0)
                *ret = (struct allowance){.account = account, .charged_bytes = kernel};
        return r;
}

void allowance_close(struct server *s, struct allowance *a)
{
        if (!a->account)
                return;
        account_give_descriptors(a->account, a->charged_fds);
        account_give_queued(a->account, a->charged_bytes);
        account_close(&s->accounts, a->account);
        *a = (struct allowance){0};
}

static const struct config *limits(const struct connection *c)
{
        return c->worker->snapshot->config;
}

/* What the connection's own bucket gives, as far as the user's gives it too. */
static uint32_t take_tokens(struct connection *c, uint32_t wanted)
{
        uint32_t own = limits(c)->requests_per_second, shared = limits(c)->requests_per_second_per_uid, n = wanted, got;

        if (own)
                n = rate_take(&c->allowance.requests, own, n, c->worker->now);
        if (!n || !shared)
                return n;
        got = rate_shared_take(&c->allowance.account->requests, shared, n, c->worker->now);
        if (own)
                rate_give(&c->allowance.requests, own, n - got);
        if (!got)
                log_refused(LOG_REFUSED_UID_REQUESTS, c->peer.uid, "asks for more than "
                            "limits.requests_per_second_per_uid: waits");
        return got;
}

bool allowance_covers(struct connection *c, unsigned pending, size_t likely)
{
        struct allowance *a = &c->allowance;

        if (pending < a->granted)
                return true;
        a->granted += take_tokens(c, likely < GRANT_MAX ? (uint32_t)likely + 1 : GRANT_MAX);
        return pending < a->granted;
}

void allowance_use(struct connection *c, unsigned n)
{
        struct allowance *a = &c->allowance;

        a->granted -= n < a->granted ? n : a->granted;
}

void allowance_settle(struct connection *c)
{
        struct allowance *a = &c->allowance;

        if (!a->granted)
                return;
        if (limits(c)->requests_per_second)
                rate_give(&a->requests, limits(c)->requests_per_second, a->granted);
        if (limits(c)->requests_per_second_per_uid)
                rate_shared_give(&a->account->requests, limits(c)->requests_per_second_per_uid, a->granted);
        a->granted = 0;
}

bool allowance_look(struct connection *c)
{
        struct allowance *a = &c->allowance;

        if (!a->unread_fds || c->out.fds || objm_unix_unread(c->source.fd) >= OBJM_UNIX_UNREAD_LEAST)
                return !a->unread_fds;
        account_give_descriptors(a->account, a->charged_fds);
        a->charged_fds = a->unread_fds = 0;
        return true;
}

int allowance_take_fd(struct connection *c, size_t pending)
{
        uint32_t own = limits(c)->descriptors, shared = limits(c)->descriptors_per_uid;
        struct allowance *a = &c->allowance;

        if (!pending)
                (void)allowance_look(c);
        if (own && a->unread_fds + pending + c->jobs >= own)
                return ALLOWANCE_WAIT;
        if (!shared)
                return 0;
        if (!account_take_descriptors(a->account, 1, shared))
                return ALLOWANCE_REFUSED;
        a->charged_fds++;
        return 0;
}

bool allowance_has_room(struct connection *c)
{
        uint32_t own = limits(c)->descriptors;

        (void)allowance_look(c);
        return !own || c->allowance.unread_fds + c->jobs < own;
}

void allowance_fds_left(struct connection *c, size_t n)
{
        struct allowance *a = &c->allowance;

        if (a->unread_fds < UNREAD_FDS_MAX) /* without limits nobody looks, and it only grows */
                a->unread_fds += (uint32_t)n;
        if (a->charged_fds)
                connection_watch(c);
}

void allowance_fds_dropped(struct connection *c, size_t n)
{
        struct allowance *a = &c->allowance;
        uint32_t charged = n < a->charged_fds ? (uint32_t)n : a->charged_fds;

        if (!charged)
                return;
        account_give_descriptors(a->account, charged);
        a->charged_fds -= charged;
}

uint32_t allowance_sndbuf(struct connection *c, uint32_t wanted, uint32_t least)
{
        uint32_t own = limits(c)->queued_bytes, charged = c->allowance.charged_bytes;

        if (own && own / 2 < wanted)
                wanted = own / 2 < least ? least : own / 2;
        if (2 * wanted <= charged)
                return wanted;
        if (!account_take_queued(c->allowance.account, 2 * wanted - charged, limits(c)->queued_bytes_per_uid))
                return charged / 2 < least ? least : charged / 2;
        c->allowance.charged_bytes = 2 * wanted;
        return wanted;
}

/* What was sent into a larger one may be unread still. */
void allowance_sndbuf_is(struct connection *c, uint32_t bytes)
{
        struct allowance *a = &c->allowance;

        if (2 * bytes >= a->charged_bytes)
                return;
        if (limits(c)->queued_bytes_per_uid && objm_unix_unread(c->source.fd) > 2 * bytes)
                return;
        account_give_queued(a->account, a->charged_bytes - 2 * bytes);
        a->charged_bytes = 2 * bytes;
}
