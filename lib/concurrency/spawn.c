/* SPDX-License-Identifier: MIT */
#include "concurrency/spawn.h"

#include "base/list.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define STACK_SIZE (256 * 1024)

struct objm_spawner {
        pthread_mutex_t lock;
        pthread_cond_t ended;
        struct objm_list running, done;
        unsigned count, max;
        pthread_attr_t attr;
        char name[16];
};

struct thread {
        struct objm_list link;
        struct objm_spawner *spawner;
        pthread_t id;
        void (*fn)(void *arg);
        void *arg;
};

int objm_spawner_new(unsigned max_threads, const char *name, struct objm_spawner **ret)
{
        struct objm_spawner *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->ended, NULL);
        pthread_attr_init(&s->attr);
        pthread_attr_setstacksize(&s->attr, STACK_SIZE);
        objm_list_init(&s->running);
        objm_list_init(&s->done);
        s->max = max_threads;
        snprintf(s->name, sizeof(s->name), "%.15s", name);
        *ret = s;
        return 0;
}

static void *thread_main(void *arg)
{
        struct thread *t = arg;
        struct objm_spawner *s = t->spawner;

        pthread_setname_np(pthread_self(), s->name);
        t->fn(t->arg);
        pthread_mutex_lock(&s->lock);
        objm_list_move_tail(&s->done, &t->link);
        pthread_cond_signal(&s->ended);
        pthread_mutex_unlock(&s->lock);
        return NULL;
}

/* The lock is held; a thread on `done` has nothing left to do but to return, so joining it does not wait. */
static void reap_locked(struct objm_spawner *s)
{
        while (!objm_list_empty(&s->done)) {
                struct thread *t = objm_list_first(&s->done, struct thread, link);

                objm_list_unlink(&t->link);
                pthread_mutex_unlock(&s->lock);
                pthread_join(t->id, NULL);
                free(t);
                pthread_mutex_lock(&s->lock);
                s->count--;
        }
}

static int start_locked(struct objm_spawner *s, struct thread *t)
{
        int r = s->count >= s->max ? EAGAIN : pthread_create(&t->id, &s->attr, thread_main, t);

        if (r)
                return -r;
        s->count++;
        objm_list_add_tail(&s->running, &t->link); /* thread_main() cannot move it before the lock is released */
        return 0;
}

int objm_spawner_spawn(struct objm_spawner *s, void (*fn)(void *arg), void *arg)
{
        struct thread *t = malloc(sizeof(*t));
        int r;

        if (!t)
                return -ENOMEM;
        *t = (struct thread){.spawner = s, .fn = fn, .arg = arg};
        pthread_mutex_lock(&s->lock);
        reap_locked(s);
        r = start_locked(s, t);
        pthread_mutex_unlock(&s->lock);
        if (r < 0)
                free(t);
        return r;
}

unsigned objm_spawner_count(struct objm_spawner *s)
{
        unsigned n;

        pthread_mutex_lock(&s->lock);
        n = s->count;
        pthread_mutex_unlock(&s->lock);
        return n;
}

void objm_spawner_free(struct objm_spawner *s)
{
        if (!s)
                return;
        pthread_mutex_lock(&s->lock);
        for (;;) {
                reap_locked(s);
                if (!s->count)
                        break;
                if (objm_list_empty(&s->done))
                        pthread_cond_wait(&s->ended, &s->lock);
        }
        pthread_mutex_unlock(&s->lock);
        pthread_attr_destroy(&s->attr);
        pthread_cond_destroy(&s->ended);
        pthread_mutex_destroy(&s->lock);
        free(s);
}
