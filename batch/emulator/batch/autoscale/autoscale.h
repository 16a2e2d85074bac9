/*
 * emulator/batch/autoscale/autoscale.h - pools that size themselves: samples of every pool each 30
 * s, and the formula of those that have one, at its interval. Everything wants the service's lock.
 *
 * The trap clock_speed makes this clock run faster: it stands at the true time when a formula is
 * set, so that times written in the formula then mean what their writer meant, and runs from there.
 */
#ifndef ADAFS_EMULATOR_BATCH_AUTOSCALE_H
#define ADAFS_EMULATOR_BATCH_AUTOSCALE_H

#include "batch/base/json.h"

struct batch_service;
struct pool;
struct autoscale;
struct api;

/* Accepts NULL. */
void autoscale_free(struct autoscale *a);
/* Samples that are due are taken, formulas that are due run. Returns when to come again, in µs. */
int64_t autoscale_tick_locked(struct batch_service *s);
/*
 * The pool's spec has a new formula or interval: its clock starts anew, and it is evaluated next.
 */
int autoscale_start_locked(struct batch_service *s, struct pool *p);
/* {timestamp, results, error} of a formula, with nothing changed. NULL: out of memory. */
cJSON *autoscale_try_locked(struct batch_service *s, struct pool *p, const char *formula);
/* A request to enable comes: false if the one before was less than 30 s ago. */
bool autoscale_admit_locked(struct batch_service *s, struct pool *p);
/* The last evaluation, owned by the pool; NULL: none. */
const cJSON *autoscale_last_run(const struct pool *p);

/* The stored part of a pool's state; NULL: nothing to store. Samples are not stored. */
cJSON *autoscale_state_json(const struct autoscale *a);
int autoscale_state_load(struct pool *p, const cJSON *json);

/* Whether the autoscale members of a pool's body are well together. 0 or answered. */
int autoscale_check_body(struct api *a, const cJSON *spec);

#endif
