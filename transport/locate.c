#include "transport/locate.h"
#include "conf/apikey.h"
#include "conf/log.h"
#include "transport/ssh_internal.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Milliseconds. */
#define LOOK_EVERY 5000 /* after a lookup, failed dials do not make another one */
#define WAIT_EVERY 4000 /* the pace of --wait */
#define BUSY_FIRST 2000 /* after a 429; doubled up to… */
#define BUSY_MAX 60000
#define BUSY_TRIES 3 /* without --wait */

struct locator {
	const struct profile *profile;
	pthread_mutex_t looking; /* held during a lookup */
	uint64_t looked_ms;	 /* under it: when the provider last answered; 0: never */
	unsigned busy_ms;	 /* under it: the next pause after a 429 */
	uint64_t busy_until;	 /* under it: no request before */
	struct endpoint said;	 /* under it: what the profile last said */
	atomic_bool settled;

	pthread_mutex_t lock; /* the following */
	struct location now;
};

struct locator *locator_new(const struct profile *profile)
{
	struct locator *locator = calloc(1, sizeof(*locator));

	if (!locator)
		return NULL;
	locator->profile = profile;
	locator->busy_ms = BUSY_FIRST;
	pthread_mutex_init(&locator->looking, NULL);
	pthread_mutex_init(&locator->lock, NULL);
	return locator;
}

void locator_free(struct locator *locator)
{
	if (!locator)
		return;
	pthread_mutex_destroy(&locator->looking);
	pthread_mutex_destroy(&locator->lock);
	free(locator);
}

void locator_settle(struct locator *locator)
{
	atomic_store(&locator->settled, true);
}

bool locate_may_mend(enum ssh_failure kind)
{
	switch (kind) {
	case SSH_UNRESOLVED:
	case SSH_UNREACHABLE:
	case SSH_REFUSED:
	case SSH_NOT_SSH:
	case SSH_TIMEOUT:
	case SSH_LOST:
	case SSH_HOST_KEY_CHANGED:
		return true;
	default:
		return false;
	}
}

/* --- what is known -------------------------------------------------------------------- */

static bool same(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && !strcmp(a->host, b->host);
}

static void get_now(struct locator *locator, struct location *out)
{
	pthread_mutex_lock(&locator->lock);
	*out = locator->now;
	pthread_mutex_unlock(&locator->lock);
}

/* Whether it is another place than before. */
static bool set_now(struct locator *locator, const struct location *found)
{
	bool moved;

	pthread_mutex_lock(&locator->lock);
	moved = locator->now.n > 0;
	for (unsigned i = 0; i < found->n && moved; i++) {
		for (unsigned j = 0; j < locator->now.n; j++)
			moved = moved && !same(&found->endpoints[i], &locator->now.endpoints[j]);
	}
	locator->now = *found;
	pthread_mutex_unlock(&locator->lock);
	return moved;
}

void locator_current(struct locator *locator, struct endpoint *out, enum locate_source *source)
{
	struct location now;

	get_now(locator, &now);
	*out = now.endpoints[0];
	*source = now.sources[0];
}

void locator_works(struct locator *locator, const struct endpoint *endpoint)
{
	struct location *now = &locator->now;

	pthread_mutex_lock(&locator->lock);
	if (now->n == 2 && same(&now->endpoints[1], endpoint)) {
		enum locate_source source = now->sources[1];

		now->endpoints[1] = now->endpoints[0];
		now->sources[1] = now->sources[0];
		now->endpoints[0] = *endpoint;
		now->sources[0] = source;
	}
	pthread_mutex_unlock(&locator->lock);
}

static void add(struct location *to, const struct endpoint *endpoint, enum locate_source source)
{
	if (!endpoint->port)
		return;
	to->endpoints[to->n] = *endpoint;
	to->sources[to->n++] = source;
}

/* --- looking ---------------------------------------------------------------------------- */

static int pause_ms(struct ssh_cancel *cancel, unsigned ms)
{
	uint64_t until = ssh_now() + ms;

	/* The descriptor may be readable for another reason: short steps. */
	while (ssh_now() < until) {
		if (cancel && atomic_load(&cancel->cancelled))
			return -ECANCELED;
		poll(NULL, 0, 100);
	}
	return 0;
}

static void progress(const struct ssh_target *target, const char *id, const char *status)
{
	char line[128];

	if (!target->progress)
		return;
	snprintf(line, sizeof(line), "%s: %s…", id, *status ? status : "starting");
	target->progress(target->progress_arg, line);
}

static void from_profile(const struct profile *profile, struct location *out)
{
	struct conf_error ignored;
	struct endpoint endpoint = {.vouched = false};
	char *host = NULL;
	unsigned port = profile->port;

	if (!profile->host_known)
		return;
	if (profile_reload_address(profile, &host, &port, &ignored))
		port = profile->port;
	snprintf(endpoint.host, sizeof(endpoint.host), "%s", host ? host : profile->host);
	endpoint.port = port;
	free(host);
	add(out, &endpoint, LOCATE_PROFILE);
}

static void from_answer(
    const struct profile *profile, const struct provider_answer *answer, struct location *out)
{
	if (profile->resolve != RESOLVE_PROXY)
		add(out, &answer->direct, LOCATE_DIRECT);
	if (profile->resolve != RESOLVE_DIRECT)
		add(out, &answer->proxy, LOCATE_PROXY);
}

/* Whether to ask again, after a pause that is taken here. */
static bool again(struct locator *locator, const struct provider_answer *answer, uint64_t until,
    unsigned tries, struct ssh_cancel *cancel)
{
	unsigned wait = WAIT_EVERY;

	if (answer->state == PROVIDER_BUSY) {
		wait = locator->busy_ms;
		locator->busy_ms = wait * 2 < BUSY_MAX ? wait * 2 : BUSY_MAX;
		if (!until && tries >= BUSY_TRIES)
			return false;
	} else if (answer->state != PROVIDER_STARTING && answer->state != PROVIDER_FAILED) {
		return false;
	} else if (!until) {
		return false;
	}
	if (until && ssh_now() + wait > until)
		return false;
	return !pause_ms(cancel, wait);
}

/* Asks the provider, again and again while that makes sense. */
static int ask(struct locator *locator, const struct ssh_target *target, const char *key,
    struct ssh_cancel *cancel, struct provider_answer *answer)
{
	const struct profile *profile = locator->profile;
	bool waits = profile->wait && !atomic_load(&locator->settled);
	uint64_t until = waits ? ssh_now() + profile->wait * 1000ull : 0;

	for (unsigned tries = 1;; tries++) {
		int err = provider_ask(profile->api_url, profile->id, key, cancel, answer);

		if (err)
			return err;
		if (answer->state == PROVIDER_RUNNING)
			locator->busy_ms = BUSY_FIRST;
		if (waits && answer->state == PROVIDER_STARTING)
			progress(target, profile->id, answer->status);
		if (again(locator, answer, until, tries, cancel))
			continue;
		if (answer->state == PROVIDER_BUSY)
			locator->busy_until = ssh_now() + locator->busy_ms;
		return cancel && atomic_load(&cancel->cancelled) ? -ECANCELED : 0;
	}
}

/* The provider has spoken about the instance, not about itself. */
static bool is_certain(enum provider_state state)
{
	return state == PROVIDER_STARTING || state == PROVIDER_STOPPED ||
	       state == PROVIDER_OFFLINE || state == PROVIDER_GONE;
}

static int from_provider(struct locator *locator, const struct ssh_target *target,
    struct ssh_cancel *cancel, struct location *out, struct ssh_error *error)
{
	const struct profile *profile = locator->profile;
	struct provider_answer answer;
	char *key;
	int err;

	if (ssh_now() < locator->busy_until)
		return ssh_fail(error, SSH_UNRESOLVED, EAGAIN,
		    "%s: the provider wanted fewer requests; it is asked again later", profile->id);
	key = apikey_find();
	if (!key)
		return ssh_fail(error, SSH_UNRESOLVED, ENOKEY,
		    "%s: neither the profile nor an API key says where it is. Write: vastfs add %s "
		    "'ssh -p PORT root@ADDRESS', or put the provider's API key into "
		    "~/.vast_api_key",
		    profile->id, profile->id);
	err = ask(locator, target, key, cancel, &answer);
	locator->looked_ms = ssh_now();
	apikey_free(key);
	if (err)
		return ssh_fail(error, SSH_CANCELLED, ECANCELED, "%s: cancelled", profile->id);
	if (answer.state == PROVIDER_RUNNING)
		from_answer(profile, &answer, out);
	if (out->n)
		return 0;
	if (answer.state == PROVIDER_RUNNING)
		return ssh_fail(error, SSH_UNRESOLVED, ENOENT,
		    "%s: the provider names no %s endpoint for it; resolve=auto takes the other "
		    "one",
		    profile->id, profile->resolve == RESOLVE_PROXY ? "proxy" : "direct");
	return ssh_fail(error, is_certain(answer.state) ? SSH_NOT_RUNNING : SSH_UNRESOLVED,
	    EHOSTDOWN, "%s", answer.text);
}

/* May the provider be asked about it? */
static bool is_askable(const struct profile *profile)
{
	return profile->resolve != RESOLVE_OFF &&
	       profile->id[strspn(profile->id, "0123456789")] == '\0' &&
	       (apikey_present() || !profile->host_known);
}

static int look(struct locator *locator, const struct ssh_target *target, struct ssh_cancel *cancel,
    struct location *out, struct ssh_error *error)
{
	const struct profile *profile = locator->profile;
	bool api = is_askable(profile);

	memset(out, 0, sizeof(*out));
	/* resolve=direct or proxy: the user wants the provider's word */
	if (profile->resolve == RESOLVE_AUTO || profile->resolve == RESOLVE_OFF)
		from_profile(profile, out);
	/* The profile's word is enough while nobody has tried it: it is new, or has changed. */
	if (out->n && (!api || !same(out->endpoints, &locator->said))) {
		locator->said = out->endpoints[0];
		return 0;
	}
	out->n = 0;
	if (!api)
		return ssh_fail(error, SSH_UNRESOLVED, ENOENT,
		    "%s: nothing says where it is (resolve=off, or the ID is no number)",
		    profile->id);
	return from_provider(locator, target, cancel, out, error);
}

/* The mutex, or -ECANCELED. */
static int lock_looking(struct locator *locator, struct ssh_cancel *cancel)
{
	for (;;) {
		struct timespec until;

		if (cancel && atomic_load(&cancel->cancelled))
			return -ECANCELED;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 100000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		if (!pthread_mutex_timedlock(&locator->looking, &until))
			return 0;
	}
}

int locator_get(struct locator *locator, const struct ssh_target *target, bool fresh,
    struct ssh_cancel *cancel, struct location *out, struct ssh_error *error)
{
	struct location before;
	int err = lock_looking(locator, cancel);

	if (err)
		return ssh_fail(
		    error, SSH_CANCELLED, ECANCELED, "%s: cancelled", locator->profile->id);
	get_now(locator, &before);
	if (before.n && (!fresh || ssh_now() - locator->looked_ms < LOOK_EVERY)) {
		*out = before;
		err = fresh ? -EAGAIN : 0;
	} else {
		err = look(locator, target, cancel, out, error);
		if (!err && set_now(locator, out))
			log_warning("%s: the instance is at %s port %u now", locator->profile->id,
			    out->endpoints[0].host, out->endpoints[0].port);
	}
	pthread_mutex_unlock(&locator->looking);
	return err;
}
