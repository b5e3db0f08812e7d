/* SPDX-License-Identifier: MIT */
/*
 * main() for a fuzz target without libFuzzer: runs it on every file named, and on every file in every directory named.
 */
#include "fuzz.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

static unsigned long n_replayed;

static void fail(const char *path, const char *what)
{
        fprintf(stderr, "replay: %s: %s\n", path, what);
        exit(1);
}

static void replay_file(const char *path, size_t size)
{
        uint8_t *data = malloc(size > 0 ? size : 1); /* exact, so that a sanitizer sees every byte read behind it */
        FILE *f = fopen(path, "re");

        if (data == NULL || f == NULL)
                fail(path, strerror(errno));
        if (fread(data, 1, size, f) != size)
                fail(path, "cannot be read whole");
        fclose(f);
        LLVMFuzzerTestOneInput(data, size);
        free(data);
        n_replayed++;
}

static void replay(const char *path)
{
        char below[PATH_MAX];
        struct dirent *e;
        struct stat st;
        DIR *dir;

        if (stat(path, &st) < 0)
                fail(path, strerror(errno));
        if (!S_ISDIR(st.st_mode)) {
                replay_file(path, (size_t)st.st_size);
                return;
        }
        dir = opendir(path);
        if (dir == NULL)
                fail(path, strerror(errno));
        while ((e = readdir(dir)) != NULL) {
                if (e->d_name[0] == '.')
                        continue;
                if (snprintf(below, sizeof(below), "%s/%s", path, e->d_name) >= (int)sizeof(below))
                        fail(path, "path too long");
                replay(below);
        }
        closedir(dir);
}

int main(int argc, char **argv)
{
        for (int i = 1; i < argc; i++)
                replay(argv[i]);
        printf("%lu inputs replayed\n", n_replayed);
        return n_replayed > 0 ? 0 : 1;
}
