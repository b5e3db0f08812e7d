/* SPDX-License-Identifier: MIT */
#include "concurrency/model.h"

#include <string.h>

const struct objm_model objm_models[OBJM_MODEL_MAX] = {
        [OBJM_MODEL_THREAD_POOL] = {"thread-pool", OBJM_PLACE_SHARED, OBJM_EXECUTE_INLINE},
        [OBJM_MODEL_THREAD_PER_CONNECTION] = {"thread-per-connection", OBJM_PLACE_OWN, OBJM_EXECUTE_INLINE},
        [OBJM_MODEL_THREAD_PER_REQUEST] = {"thread-per-request", OBJM_PLACE_SHARED, OBJM_EXECUTE_SPAWN},
};

int objm_model_find(const char *name)
{
        for (int i = 0; i < OBJM_MODEL_MAX; i++)
                if (!strcmp(objm_models[i].name, name))
                        return i;
        return -1;
}
