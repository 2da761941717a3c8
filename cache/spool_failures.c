/* The changes that could not be done, by file. */
#include "cache/spool_impl.h"
#include "conf/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static struct failure *failure_of(struct spool *spool, const char *path)
{
	struct failure *failure;

	TAILQ_FOREACH (failure, &spool->failures, link) {
		if (!strcmp(failure->path, path))
			return failure;
	}
	failure = calloc(1, sizeof(*failure) + strlen(path) + 1);
	if (!failure)
		return NULL;
	strcpy(failure->path, path);
	TAILQ_INSERT_TAIL(&spool->failures, failure, link);
	spool->n_failures++;
	return failure;
}

static void failure_free(struct spool *spool, struct failure *failure)
{
	TAILQ_REMOVE(&spool->failures, failure, link);
	spool->n_failures--;
	free(failure->changes);
	free(failure);
}

static bool reserve(struct failure *failure, size_t n)
{
	size_t room = failure->room ? failure->room : 16;
	struct failed *grown;

	if (failure->n + n <= failure->room)
		return true;
	while (room < failure->n + n)
		room *= 2;
	grown = realloc(failure->changes, room * sizeof(*grown));
	if (!grown)
		return false;
	failure->changes = grown;
	failure->room = room;
	return true;
}

void spool_failed(struct spool *spool, uint64_t first, uint32_t n, int err, const char *path)
{
	struct failure *failure = failure_of(spool, path);

	if (!failure || !reserve(failure, n)) /* it stays all the same */
		return;
	if (!failure->err)
		log_error("%s: could not be written to the instance: %s; it stays in %s", path,
		    strerror(-err), spool_path(spool));
	failure->err = err;
	while (n--) {
		spool_mark(spool, first, (uint32_t)time(NULL), true);
		failure->changes[failure->n++] =
		    (struct failed){first, spool_name_hash(spool, first)};
		first++;
	}
}

unsigned spool_forget_failures(struct spool *spool, const char *path, bool done)
{
	struct failure *failure, *next;
	unsigned files = 0;
	size_t i;

	for (failure = TAILQ_FIRST(&spool->failures); failure; failure = next) {
		next = TAILQ_NEXT(failure, link);
		if (path && strcmp(failure->path, path))
			continue;
		for (i = 0; done && i < failure->n; i++)
			spool_done(spool, failure->changes[i].sequence, 1);
		failure_free(spool, failure);
		files++;
	}
	return files;
}

unsigned spool_discard(struct spool *spool, const char *path)
{
	return spool_forget_failures(spool, path, true);
}

/* Some of its changes are not wanted any more. */
static void keep_first(struct spool *spool, struct failure *failure, size_t kept)
{
	failure->n = kept;
	if (!kept)
		failure_free(spool, failure);
}

static bool is_data(enum spool_type type)
{
	return type == SPOOL_WRITE || type == SPOOL_APPEND || type == SPOOL_TRUNCATE;
}

void spool_discard_data(struct spool *spool, const char *path)
{
	struct failure *failure;
	size_t i, kept = 0;

	TAILQ_FOREACH (failure, &spool->failures, link) {
		if (!strcmp(failure->path, path))
			break;
	}
	for (i = 0; failure && i < failure->n; i++) {
		if (is_data(spool_type_of(spool, failure->changes[i].sequence)))
			spool_done(spool, failure->changes[i].sequence, 1);
		else
			failure->changes[kept++] = failure->changes[i];
	}
	if (failure)
		keep_first(spool, failure, kept);
}

static void supersede(struct spool *spool, struct failure *failure, uint64_t name)
{
	size_t i, kept = 0;

	for (i = 0; i < failure->n; i++) {
		if (failure->changes[i].name == name)
			spool_drop(spool, failure->changes[i].sequence);
		else
			failure->changes[kept++] = failure->changes[i];
	}
	keep_first(spool, failure, kept);
}

void spool_supersede(struct spool *spool, const char *path)
{
	uint64_t name = XXH3_64bits(path, strlen(path));
	struct failure *failure, *next;

	for (failure = TAILQ_FIRST(&spool->failures); failure; failure = next) {
		next = TAILQ_NEXT(failure, link);
		supersede(spool, failure, name);
	}
}

bool spool_any_failed(const struct spool *spool)
{
	return !TAILQ_EMPTY(&spool->failures);
}

void spool_failures(const struct spool *spool,
    void (*each)(void *arg, const char *path, int err, uint64_t changes), void *arg)
{
	const struct failure *failure;

	TAILQ_FOREACH (failure, &spool->failures, link)
		each(arg, failure->path, failure->err, failure->n);
}

void spool_failures_free(struct spool *spool)
{
	while (!TAILQ_EMPTY(&spool->failures))
		failure_free(spool, TAILQ_FIRST(&spool->failures));
}

void spool_failed_anew(struct spool *spool, uint64_t sequence)
{
	spool_mark(spool, sequence, 0, false);
}

bool spool_has_failed(const struct spool *spool, uint64_t sequence)
{
	const struct failure *failure;
	size_t i;

	TAILQ_FOREACH (failure, &spool->failures, link) {
		for (i = 0; i < failure->n; i++) {
			if (failure->changes[i].sequence == sequence)
				return true;
		}
	}
	return false;
}

bool spool_failed_range(const struct spool *spool, uint64_t *from, uint64_t *to)
{
	const struct failure *failure;
	size_t i;

	*from = UINT64_MAX;
	*to = 0;
	TAILQ_FOREACH (failure, &spool->failures, link) {
		for (i = 0; i < failure->n; i++) {
			if (failure->changes[i].sequence < *from)
				*from = failure->changes[i].sequence;
			if (failure->changes[i].sequence >= *to)
				*to = failure->changes[i].sequence + 1;
		}
	}
	return *to > 0;
}

void spool_forget_failed(struct spool *spool)
{
	spool_forget_failures(spool, NULL, false);
}
