/* SPDX-License-Identifier: MIT */
#include "objmap/bench.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>

static double ratio(double a, double b)
{
        return b > 0 ? a / b : 0;
}

static double us(uint64_t ns)
{
        return (double)ns / (double)OBJM_NS_PER_US;
}

static double quantile_us(const struct bench_result *r, double q)
{
        return us(objm_hist_quantile(&r->latency, q));
}

static double seconds(uint64_t ns)
{
        return (double)ns / (double)OBJM_NS_PER_S;
}

static void print_json(const struct bench_options *o, const struct bench_result *r)
{
        printf("{\"requests\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"seconds\": %.6f, \"requests_per_second\": %.1f",
               r->requests, r->errors, seconds(r->elapsed_ns), ratio((double)r->requests, seconds(r->elapsed_ns)));
        printf(", \"latency_us\": {\"p50\": %.3f, \"p99\": %.3f, \"p99.9\": %.3f, \"max\": %.3f}",
               quantile_us(r, 0.5), quantile_us(r, 0.99), quantile_us(r, 0.999), us(r->latency.max));
        if (bench_reads(o))
                printf(", \"bytes\": %" PRIu64 ", \"bytes_per_second\": %.1f", r->bytes,
                       ratio((double)r->bytes, seconds(r->elapsed_ns)));
        if (o->pid) {
                printf(", \"server_cpu_us_per_request\": %.4f, \"requests_per_server_cpu_second\": %.1f",
                       ratio(us(r->cpu_ns), (double)r->requests), ratio((double)r->requests, seconds(r->cpu_ns)));
                printf(", \"anon_kb_before\": %" PRIu64 ", \"anon_kb_after\": %" PRIu64, r->before.anon_kb,
                       r->after.anon_kb);
        }
        puts("}");
}

static void print_text(const struct bench_options *o, const struct bench_result *r)
{
        printf("requests  %" PRIu64 " in %.3f s, %.0f a second\n", r->requests, seconds(r->elapsed_ns),
               ratio((double)r->requests, seconds(r->elapsed_ns)));
        printf("errors    %" PRIu64, r->errors);
        if (r->errors)
                printf(", the first: %s", cli_error_text(r->first_error));
        printf("\nlatency   p50 %.2f us, p99 %.2f us, p99.9 %.2f us, max %.2f us\n", quantile_us(r, 0.5),
               quantile_us(r, 0.99), quantile_us(r, 0.999), us(r->latency.max));
        if (bench_reads(o))
                printf("bytes     %" PRIu64 ", %.1f MB a second\n", r->bytes,
                       ratio((double)r->bytes / 1e6, seconds(r->elapsed_ns)));
        if (!o->pid)
                return;
        printf("server    %.3f us CPU a request, %.0f requests a CPU-second\n",
               ratio(us(r->cpu_ns), (double)r->requests), ratio((double)r->requests, seconds(r->cpu_ns)));
        printf("memory    %" PRIu64 " kB anonymous before, %" PRIu64 " kB after\n", r->before.anon_kb,
               r->after.anon_kb);
}

void bench_report(const struct bench_options *o, const struct bench_result *r)
{
        if (o->json)
                print_json(o, r);
        else
                print_text(o, r);
}
