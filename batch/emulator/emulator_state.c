/* The state directory: lock, key, endpoints, settings. */
#include "batch/emulator/emulator_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "batch/base/buf.h"
#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/file.h"
#include "batch/base/random.h"

#define KEY_BYTES 64 /* as the service's keys */
#define SMALL_FILE 4096
#define LOCK_PATIENCE_MS 1000
#define LOCK_PAUSE_MS 20

static int no_memory(struct adafs_err *reterr)
{
	return adafs_err_set(reterr, -ENOMEM, "out of memory");
}

/* Whoever asks if an emulator lives tries the lock for a moment: that is not another emulator. */
static int take_lock(int fd)
{
	uint64_t deadline = adafs_clock_mono_ms() + LOCK_PATIENCE_MS;
	struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000L };
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (adafs_clock_mono_ms() > deadline)
			return -EBUSY;
		nanosleep(&pause, NULL);
	}
	return 0;
}

int emulator_state_lock(const char *dir, struct adafs_err *reterr)
{
	int rc = adafs_mkdir_p(dir, 0700);
	if (rc < 0)
		return adafs_err_set(reterr, rc, "cannot create '%s': %s", dir, strerror(-rc));
	ADAFS_FREE char *path = adafs_fmt("%s/lock", dir);
	if (!path)
		return no_memory(reterr);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return adafs_err_set(reterr, -errno, "cannot open '%s': %s", path, strerror(errno));
	char pid[32] = "";
	rc = take_lock(fd);
	if (rc < 0 && rc != -EBUSY) {
		close(fd);
		return adafs_err_set(reterr, rc, "cannot lock '%s': %s", path, strerror(-rc));
	}
	if (rc < 0) {
		ssize_t n = read(fd, pid, sizeof(pid) - 1);
		pid[n > 0 ? strcspn(pid, "\n") : 0] = 0;
		close(fd);
		return adafs_err_set(
			reterr, -EBUSY,
			"an emulator (process %s) already serves '%s'; its settings are in "
			"'%s/settings'",
			*pid ? pid : "unknown", dir, dir);
	}
	int n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)n, 0) != n) {
		rc = adafs_err_set(reterr, -errno, "cannot write '%s': %s", path, strerror(errno));
		close(fd);
		return rc;
	}
	return fd;
}

static int read_optional(const char *path, char **ret_text, struct adafs_err *reterr)
{
	*ret_text = NULL;
	int rc = adafs_file_read(path, SMALL_FILE, ret_text, NULL, reterr);
	return rc == -ENOENT ? 0 : rc;
}

/* --- the key --------------------------------------------------------------------------------- */

static char *new_key(void)
{
	uint8_t bytes[KEY_BYTES];
	adafs_random_bytes(bytes, sizeof(bytes));
	char *key = adafs_base64_encode(bytes, sizeof(bytes));
	explicit_bzero(bytes, sizeof(bytes));
	return key;
}

/*
 * A key once used is kept, also one of the command line: tasks in the queue hold signatures of it.
 */
static int load_key(struct emulator_options *o, struct adafs_err *reterr)
{
	ADAFS_FREE char *path = adafs_fmt("%s/key", o->dir);
	ADAFS_FREE char *kept = NULL;
	if (!path)
		return no_memory(reterr);
	int rc = read_optional(path, &kept, reterr);
	if (rc < 0)
		return rc;
	if (kept)
		kept[strcspn(kept, "\r\n")] = 0;
	if (kept && *kept && (!o->key || strcmp(o->key, kept) == 0)) {
		free(o->key);
		o->key = ADAFS_STEAL(kept);
		return 0;
	}
	if (!o->key)
		o->key = new_key();
	ADAFS_FREE char *line = o->key ? adafs_fmt("%s\n", o->key) : NULL;
	if (!line)
		return no_memory(reterr);
	return adafs_file_write_atomic(path, line, strlen(line), 0600, reterr);
}

/* --- endpoints ------------------------------------------------------------------------------- */

static int load_line(struct emulator_options *o, char *line, struct adafs_err *reterr)
{
	char *value = strchr(line, '=');
	if (!value)
		return 0;
	*value++ = 0;
	if (strcmp(line, "account") == 0 && !o->account) {
		o->account = strdup(value);
		return o->account ? 0 : no_memory(reterr);
	}
	if (strcmp(line, "blob") == 0 && !o->blob.given)
		return emulator_address_parse(value, &o->blob, reterr);
	if (strcmp(line, "batch") == 0 && !o->batch.given)
		return emulator_address_parse(value, &o->batch, reterr);
	return 0;
}

int emulator_state_load(struct emulator_options *o, struct adafs_err *reterr)
{
	ADAFS_FREE char *path = adafs_fmt("%s/endpoints", o->dir);
	ADAFS_FREE char *text = NULL;
	if (!path)
		return no_memory(reterr);
	int rc = read_optional(path, &text, reterr);
	char *rest = NULL;
	for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; rc == 0 && line;
	     line = strtok_r(NULL, "\n", &rest))
		rc = load_line(o, line, reterr);
	if (rc < 0)
		return adafs_err_prefix(reterr, "%s", path);
	if (!o->account && !(o->account = strdup("adafs")))
		return no_memory(reterr);
	if (!*o->blob.host)
		strcpy(o->blob.host, "127.0.0.1");
	if (!*o->batch.host)
		strcpy(o->batch.host, "127.0.0.1");
	return load_key(o, reterr);
}

int emulator_state_save(const struct emulator_options *o, const char *blob, const char *batch,
			struct adafs_err *reterr)
{
	ADAFS_FREE char *path = adafs_fmt("%s/endpoints", o->dir);
	ADAFS_FREE char *text =
		adafs_fmt("account=%s\nblob=%s\nbatch=%s\n", o->account, blob, batch);
	if (!path || !text)
		return no_memory(reterr);
	return adafs_file_write_atomic(path, text, strlen(text), 0600, reterr);
}

/* --- settings -------------------------------------------------------------------------------- */

char *emulator_settings(const struct emulator_options *o, const char *blob, const char *batch)
{
	/*
	 * No value holds a single quote: names are checked, keys are base64, addresses are numbers.
	 */
	return adafs_fmt(
		"AZURE_STORAGE_CONNECTION_STRING='DefaultEndpointsProtocol=http;AccountName=%s;"
		"AccountKey=%s;BlobEndpoint=http://%s/%s;'\n"
		"AZURE_STORAGE_ACCOUNT='%s'\n"
		"AZURE_STORAGE_KEY='%s'\n"
		"AZURE_STORAGE_BLOB_ENDPOINT='http://%s/%s'\n"
		"AZURE_BATCH_ACCOUNT='%s'\n"
		"AZURE_BATCH_ACCESS_KEY='%s'\n"
		"AZURE_BATCH_ENDPOINT='%s'\n",
		o->account, o->key, blob, o->account, o->account, o->key, blob, o->account,
		o->account, o->key, batch);
}

int emulator_settings_write(const char *dir, const char *settings, struct adafs_err *reterr)
{
	ADAFS_FREE char *path = adafs_fmt("%s/settings", dir);
	ADAFS_FREE char *text = adafs_fmt("%sADAFS_EMULATOR_PID='%d'\n", settings, (int)getpid());
	if (!path || !text)
		return no_memory(reterr);
	return adafs_file_write_atomic(path, text, strlen(text), 0600, reterr);
}

void emulator_settings_remove(const char *dir)
{
	ADAFS_FREE char *path = adafs_fmt("%s/settings", dir);
	if (path)
		(void)unlink(path);
}
