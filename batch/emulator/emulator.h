/* emulator/emulator.h - `adafs emulator`: both services in one process, with their state in a
 * directory. */
#ifndef ADAFS_EMULATOR_EMULATOR_H
#define ADAFS_EMULATOR_EMULATOR_H

/*
 * Run the emulator with the arguments behind "adafs emulator" (argv[0] is the command's name).
 * Prints its settings as NAME='value' lines once both services listen, then serves until SIGTERM or
 * SIGINT. Returns the exit code: 0, 1 (could not start), 2 (wrong usage).
 *
 * In the directory: key (the account key, mode 0600), endpoints (account and addresses, kept over
 * restarts because queued tasks hold URLs with them), lock (held by flock while it lives), settings
 * (the printed lines and ADAFS_EMULATOR_PID, there while it serves), blob/ and batch/.
 */
int adafs_emulator_main(int argc, char **argv);

#endif
