/* SPDX-License-Identifier: MIT */
#include "objmapperd/control.h"

#include "objmapperd/connection.h"

#include <errno.h>
#include <stdlib.h>

struct command {
        struct objm_mail mail;
        struct connection *c; /* stays in memory while c->jobs counts this command */
        struct request rq;
        struct reply reply;
        struct config_error err;
};

void control_init(struct control *k)
{
        *k = (struct control){.open = false};
        pthread_mutex_init(&k->lock, NULL);
}

void control_open(struct control *k, struct objm_loop *loop, control_fn run, void *userdata)
{
        k->loop = loop;
        k->run = run;
        k->userdata = userdata;
        k->open = true;
}

void control_close(struct control *k)
{
        pthread_mutex_lock(&k->lock);
        k->open = false;
        pthread_mutex_unlock(&k->lock);
        if (k->loop)
                objm_loop_dispatch(k->loop); /* the mail: no event has been waited for */
}

void control_deinit(struct control *k)
{
        pthread_mutex_destroy(&k->lock);
}

/* In the connection's worker again. */
static void deliver(struct objm_mail *m)
{
        struct command *cmd = objm_container_of(m, struct command, mail);

        cmd->c->jobs--;
        cmd->c->worker->snapshot = server_snapshot(cmd->c->worker->server); /* the reply is under the new limits */
        connection_on_reply(cmd->c, &cmd->reply);
        free(cmd);
}

/* A worker of one connection ends with it, but not while the lock is held. */
static void send_back(struct command *cmd)
{
        struct worker *w = cmd->c->worker;
        struct server *s = w->server;

        cmd->mail.deliver = deliver;
        pthread_mutex_lock(&s->workers_lock);
        objm_loop_post(&w->loop, &cmd->mail);
        pthread_mutex_unlock(&s->workers_lock);
}

static uint8_t status_of(int r)
{
        switch (r) {
        case 0:
                return OBJM_STATUS_OK;
        case -EINVAL:
                return OBJM_STATUS_INVALID_REQUEST;
        case -EBUSY:
                return OBJM_STATUS_UNAVAILABLE;
        case -ENOMEM:
                return OBJM_STATUS_NO_MEMORY;
        default:
                return OBJM_STATUS_INTERNAL;
        }
}

/* In the main thread. */
static void carry_out(struct objm_mail *m)
{
        struct command *cmd = objm_container_of(m, struct command, mail);
        struct control *k = &cmd->c->worker->server->control;
        int r = k->open ? k->run(k->userdata, cmd->rq.op, &cmd->err) : -EBUSY;

        cmd->reply = request_refuse(&cmd->rq, status_of(r), cmd->err.text[0] ? cmd->err.text : NULL);
        send_back(cmd);
}

static int post(struct control *k, struct command *cmd)
{
        int r = 0;

        pthread_mutex_lock(&k->lock);
        if (k->open)
                objm_loop_post(k->loop, &cmd->mail);
        else
                r = -EBUSY;
        pthread_mutex_unlock(&k->lock);
        return r;
}

int control_start(struct connection *c, const struct request *rq)
{
        struct command *cmd = malloc(sizeof(*cmd));
        int r;

        if (!cmd)
                return -ENOMEM;
        cmd->mail.deliver = carry_out;
        cmd->c = c;
        cmd->rq = *rq;
        cmd->err.text[0] = '\0';
        c->jobs++;
        r = post(&c->worker->server->control, cmd);
        if (r < 0) {
                c->jobs--;
                free(cmd);
        }
        return r;
}
