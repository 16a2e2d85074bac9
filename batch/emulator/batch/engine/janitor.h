/*
 * emulator/batch/engine/janitor.h - the thread that deletes what was moved to the trash. It is
 * apart from the scheduler because a tree of many files takes its time, and tasks wait for nobody's
 * leftovers.
 */
#ifndef ADAFS_EMULATOR_BATCH_JANITOR_H
#define ADAFS_EMULATOR_BATCH_JANITOR_H

/* service is a struct batch_service. Ends when it stops; the rest is for the next start. */
void *janitor_thread(void *service);

#endif
