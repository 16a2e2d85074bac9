/* azure/words.c - the table from a service's code to meaning and next action, and the line made of
 * it. */
#include "batch/azure/words.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "batch/base/cleanup.h"

#define MAX_OBJECT 160
#define MAX_IDENTITY 96

static const struct adafs_words_row rows[] = {
	/* who may enter */
	{ "NoAuthenticationInformation", "the request carried no credential",
	  "set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or sign in with 'az login'" },
	{ "InvalidAuthenticationInfo", "the credential is malformed, expired or of another tenant",
	  "run 'adafs check'; it names the credential in use" },
	{ "AuthenticationFailed",
	  "the credential was refused: a wrong key, an expired SAS or token, or a clock that is off",
	  "run 'adafs check'; it compares the clocks and names the credential in use" },
	{ "AuthorizationFailure", "this network or identity is not let in",
	  "allow this address under Networking of the storage account, or use another network" },
	{ "AuthorizationPermissionMismatch", "the identity lacks the right for this operation",
	  "assign it the role Storage Blob Data Contributor (takes minutes), or make a SAS with racwdl" },
	{ "AuthorizationProtocolMismatch", "the SAS is good for https only",
	  "use the https endpoint, or a SAS that allows http" },
	{ "AuthorizationSourceIPMismatch", "the SAS is not good for this machine's address",
	  "make a SAS without an address range, or with this one in it" },
	{ "AuthorizationServiceMismatch", "the account SAS is not for Blob",
	  "make one with the service b" },
	{ "AuthorizationResourceTypeMismatch", "the account SAS is not for this kind of object",
	  "make one with the resource types sco" },
	{ "KeyBasedAuthenticationNotPermitted",
	  "the account refuses keys and what keys have signed",
	  "take AZURE_STORAGE_KEY away and sign in with Entra ID" },
	{ "UnauthorizedBlobOverwrite", "the SAS may create blobs but not replace them",
	  "make a SAS with w" },
	{ "PublicAccessNotPermitted", "the account allows no anonymous access",
	  "set a key, a SAS or an Entra ID credential" },
	{ "InsufficientAccountPermissions",
	  "the account or its subscription is not allowed to do this",
	  "ask its owner; the subscription may be read-only" },
	{ "AccountIsDisabled", "the account is disabled",
	  "enable it, or its subscription, in the portal" },
	{ "InvalidRestAPIForAccountSetting", "the Batch account's settings do not allow this",
	  "a user-subscription account wants Entra ID: take AZURE_BATCH_ACCESS_KEY away" },
	{ "RequestForbiddenByContainerEncryptionPolicy",
	  "the container demands an encryption scope", "use a container without a fixed scope" },

	/* containers and blobs */
	{ "ContainerNotFound", "the container does not exist",
	  "make it, or name another with -o container=NAME" },
	{ "ContainerBeingDeleted", "the container is being deleted",
	  "wait half a minute, or name another with -o container=NAME" },
	{ "ContainerDisabled", "the container is disabled", "ask the account's owner" },
	{ "BlobNotFound", "the blob does not exist",
	  "look whether somebody deleted or renamed it" },
	{ "BlobArchived", "the blob is in the Archive tier and cannot be read",
	  "rehydrate it to Hot or Cool; that takes hours" },
	{ "BlobBeingRehydrated", "the blob is on its way out of the Archive tier",
	  "try again in some hours" },
	{ "BlobImmutableDueToPolicy", "an immutability policy protects the blob",
	  "write under another name, or ask who set the policy" },
	{ "SnapshotsPresent", "the blob has snapshots", "delete them with it" },
	{ "InvalidBlobType", "the blob is an append or page blob",
	  "delete it first, then write it anew" },
	{ "BlobOperationNotSupported", "a blob written through ADLS cannot be extended here",
	  "write it anew as a whole" },
	{ "LeaseIdMissing", "somebody holds a lease on it",
	  "end the lease, or wait until its holder is done" },
	{ "LeaseAlreadyPresent", "somebody holds a lease on it",
	  "end the lease, or wait until its holder is done" },
	{ "PendingCopyOperation", "a copy to this blob is under way", "wait until it is done" },
	{ "CannotVerifyCopySource", "the source of the copy cannot be read",
	  "check that it exists and that this identity may read it" },
	{ "ConditionNotMet", "somebody else changed it meanwhile",
	  "read it again and repeat the change" },
	{ "TargetConditionNotMet", "somebody else changed the target meanwhile",
	  "look at it and repeat the copy" },
	{ "SourceConditionNotMet", "somebody else changed the source meanwhile",
	  "repeat the copy" },
	{ "InvalidBlockList", "blocks of the upload are gone, another writer may have committed",
	  "copy the file again" },
	{ "InvalidBlobOrBlock", "another client left unfinished blocks under this name",
	  "copy the file again, or delete the blob first" },
	{ "BlockCountExceedsLimit", "the blob would have more than 50,000 blocks",
	  "use a larger -o block_size=" },
	{ "RequestBodyTooLarge", "the request is larger than the service takes",
	  "use a smaller -o block_size=, or fewer inputs a task" },
	{ "Md5Mismatch", "bytes were damaged on the way",
	  "copy again; look at the line if it returns" },
	{ "Crc64Mismatch", "bytes were damaged on the way",
	  "copy again; look at the line if it returns" },
	{ "InvalidResourceName", "the name breaks the service's rules",
	  "containers are 3 to 63 of a-z, 0-9 and single hyphens" },
	{ "OutOfRangeInput", "a name or value is too short or too long",
	  "containers take 3 to 63 characters, blob names 1,024" },
	{ "MetadataTooLarge", "the metadata is over the service's limit", "keep it under 8 KiB" },

	/* the line and the limits */
	{ "ServerBusy", "the service throttles this account",
	  "there is nothing to do: it is tried again, more slowly" },
	{ "TooManyRequests", "the service throttles this account",
	  "there is nothing to do: it is tried again, more slowly" },
	{ "OperationTimedOut", "the service took too long",
	  "there is nothing to do: it is tried again" },
	{ "InternalError", "the service failed",
	  "it is tried again; if it lasts, look at Azure's status page" },
	{ "AccountRequiresHttps", "the account takes https only", "use the https endpoint" },
	{ "UnsupportedRequestVersion", "the Batch account does not know this api-version",
	  "check AZURE_BATCH_ENDPOINT; its region may be another cloud" },

	/* Batch */
	{ "PoolNotFound", "the pool does not exist",
	  "make it, describe it by pool_ options, or name another with -o pool=ID" },
	{ "PoolBeingDeleted", "the pool is being deleted", "wait some minutes, or name another" },
	{ "PoolBeingResized", "the pool is being resized", "wait until pool/state says steady" },
	{ "PoolQuotaReached", "the account may have no more pools",
	  "delete one, or ask for quota in the portal" },
	{ "ActiveJobAndScheduleQuotaReached", "the account may have no more active jobs",
	  "it goes on as jobs end; end stale ones, or ask for quota in the portal" },
	{ "JobNotFound", "the job is gone from Batch",
	  "its results stay; retry it if they are missing" },
	{ "JobBeingDeleted", "the job is being deleted", "wait some minutes" },
	{ "JobBeingTerminated", "the job is ending", "wait until it has ended" },
	{ "JobCompleted", "the job has ended", "nothing can be added; retry it" },
	{ "JobDisabled", "the job is disabled", "enable it in the portal" },
	{ "TaskNotFound", "the task is gone from Batch", "its logs are in the container" },
	{ "NodeNotFound", "the node is gone", "logs and results are in the container" },
	{ "NodeStateUnusable", "the node is unusable", "reboot or remove it in the portal" },
	{ "TaskFilesUnavailable", "the task's files went with its node",
	  "logs and results are in the container" },
	{ "TaskFilesCleanedup", "the task's files were past their time",
	  "logs and results are in the container" },
	{ "TaskDependenciesNotSpecifiedOnJob", "the job was made without dependencies",
	  "it is not of adafs; choose another job id" },
	{ "AutoScalingFormulaSyntaxError", "the pool's formula is wrong",
	  "correct the pool_ options, or the formula in the portal" },
	{ "TooManyEnableAutoScaleRequests", "the formula was changed less than 30 s ago",
	  "wait half a minute" },
	{ "UnsupportedProperty", "the account's service does not know a property",
	  "mend the pipeline or the option it comes from" },
	{ "InvalidPropertyValue", "a value is not one that the service takes",
	  "mend the pipeline or the option it comes from" },
};

const struct adafs_words_row *adafs_words_table(size_t *ret_n)
{
	*ret_n = ADAFS_ARRAY_SIZE(rows);
	return rows;
}

const struct adafs_words_row *adafs_words_find(const char *code)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(rows); i++)
		if (strcasecmp(rows[i].code, code) == 0)
			return &rows[i];
	return NULL;
}

/* Whether the service's own text says which value the code is about. */
static bool tells_more(const char *code)
{
	static const char *const codes[] = {
		"AuthenticationFailed", "InvalidAuthenticationInfo",     "OutOfRangeInput",
		"InvalidPropertyValue", "AutoScalingFormulaSyntaxError", "UnsupportedProperty"
	};
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(codes); i++)
		if (strcmp(codes[i], code) == 0)
			return true;
	return false;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One decoded byte of a path; what is no text becomes '?'. Moves *p. */
static char next_byte(const char **p, const char *end)
{
	unsigned char c = (unsigned char)*(*p)++;
	if (c == '%' && end - *p >= 2 && hex_digit((*p)[0]) >= 0 && hex_digit((*p)[1]) >= 0) {
		c = (unsigned char)(hex_digit((*p)[0]) << 4 | hex_digit((*p)[1]));
		*p += 2;
	}
	return (char)(c < 0x20 || c == 0x7f ? '?' : c);
}

void adafs_words_object(const char *url, char *out, size_t size)
{
	const char *p = strstr(url, "://");
	p = p ? strchr(p + 3, '/') : NULL;
	if (!p) {
		snprintf(out, size, "?");
		return;
	}
	const char *end = p + strcspn(p, "?#");
	char whole[2048];
	size_t n = 0;
	while (p < end && n < sizeof(whole) - 1)
		whole[n++] = next_byte(&p, end);
	whole[n] = 0;
	/* The head names the container, the tail the file. */
	if (n < size)
		memcpy(out, whole, n + 1);
	else
		snprintf(out, size, "%.*s...%s", (int)(size / 3), whole,
			 whole + n - (size - 4 - size / 3));
}

/* The value of a query parameter of a URL, shortened to what is a name; "" when there is none. */
static void query_value(const char *url, const char *name, char *out, size_t size)
{
	size_t len = strlen(name), n = 0;
	*out = 0;
	for (const char *p = strchr(url, '?'); p; p = strchr(p + 1, '&')) {
		if (strncmp(p + 1, name, len) != 0 || p[1 + len] != '=')
			continue;
		for (p += len + 2;
		     n < size - 1 && (isalnum((unsigned char)*p) || *p == '-' || *p == '_');)
			out[n++] = *p++;
		out[n] = 0;
		return;
	}
}

void adafs_words_identity(const struct adafs_http_request *rq, char *out, size_t size)
{
	const char *auth = adafs_http_headers_get(&rq->headers, "Authorization");
	char text[65];
	if (auth && strncasecmp(auth, "SharedKey ", 10) == 0) {
		snprintf(out, size, "the key of '%.*s'", (int)strcspn(auth + 10, ":"), auth + 10);
	} else if (auth) {
		snprintf(out, size, "an Entra ID token");
	} else if (!strstr(rq->url, "sig=")) {
		snprintf(out, size, "no credential");
	} else if (strstr(rq->url, "skoid=")) {
		snprintf(out, size, "a user delegation SAS");
	} else {
		query_value(rq->url, "si", text, sizeof(text));
		snprintf(out, size, "a SAS%s%s%s", *text ? " of access policy '" : "", text,
			 *text ? "'" : "");
	}
}

void adafs_words_line(const struct adafs_http_request *rq, int status, const char *code,
		      const char *message, char *out, size_t size)
{
	const struct adafs_words_row *row = adafs_words_find(code);
	char object[MAX_OBJECT], identity[MAX_IDENTITY];
	adafs_words_object(rq->url, object, sizeof(object));
	adafs_words_identity(rq, identity, sizeof(identity));
	const char *operation = rq->operation ? rq->operation : rq->method;
	bool detail = row && *message && tells_more(row->code);
	if (row)
		snprintf(out, size, "%s '%s' with %s: %d %s: %s%s%.180s%s; %s", operation, object,
			 identity, status, row->code, row->meaning, detail ? " (" : "",
			 detail ? message : "", detail ? ")" : "", row->action);
	else
		snprintf(out, size, "%s '%s' with %s: %d %s%s%.200s", operation, object, identity,
			 status, code, *code && *message ? ": " : "", message);
}
