/* Connecting: to the places where the instance may be, one after the other. */
#include "conf/log.h"
#include "transport/locate.h"
#include "transport/ssh_internal.h"
#include <errno.h>
#include <string.h>

/* What one call of ssh_try_places has tried so far. */
struct attempt {
	const struct ssh_target *target;
	ssh_try *attempt;
	void *arg;
	struct endpoint tried[4];
	unsigned n_tried;
};

static bool was_tried(const struct attempt *attempt, const struct endpoint *endpoint)
{
	for (unsigned i = 0; i < attempt->n_tried; i++) {
		if (attempt->tried[i].port == endpoint->port &&
		    !strcmp(attempt->tried[i].host, endpoint->host))
			return true;
	}
	return false;
}

/* Tries those that were not tried yet. -EAGAIN: there were none; error is as it was. */
static int try_all(
    struct attempt *attempt, const struct location *location, struct ssh_error *error)
{
	int err = -EAGAIN;

	for (unsigned i = 0; i < location->n; i++) {
		const struct endpoint *endpoint = &location->endpoints[i];
		struct ssh_error latest;
		int rc;

		if (was_tried(attempt, endpoint))
			continue;
		attempt->tried[attempt->n_tried++] = *endpoint;
		rc = attempt->attempt(attempt->arg, endpoint, &latest);
		if (!rc) {
			locator_works(attempt->target->locator, endpoint);
			return 0;
		}
		/* A server that speaks SSH has more to say than a port where nobody listens. */
		if (err == -EAGAIN || !locate_may_mend(latest.kind))
			*error = latest;
		err = rc;
		if (!locate_may_mend(latest.kind))
			return rc;
		log_info("%s", latest.text);
	}
	return err;
}

int ssh_try_places(const struct ssh_target *target, struct ssh_cancel *cancel, ssh_try *try,
    void *arg, struct ssh_error *error)
{
	struct attempt attempt = {.target = target, .attempt = try, .arg = arg};
	struct location location;
	struct ssh_error why;
	int err, rc;

	if (!target->locator)
		return try(arg, NULL, error);
	err = locator_get(target->locator, target, false, cancel, &location, error);
	if (!err)
		err = try_all(&attempt, &location, error);
	if (!err || !locate_may_mend(error->kind) || !attempt.n_tried)
		return err;
	/* Perhaps it has been moved. */
	rc = locator_get(target->locator, target, true, cancel, &location, &why);
	if (!rc)
		rc = try_all(&attempt, &location, &why);
	if (!rc)
		return 0;
	if (rc != -EAGAIN && (why.kind == SSH_NOT_RUNNING || !locate_may_mend(why.kind))) {
		*error = why;
		return rc;
	}
	return err;
}

struct dial {
	const struct ssh_target *target;
	struct ssh_cancel *cancel;
	struct ssh_connection **out;
};

static int dial_one(void *arg, const struct endpoint *endpoint, struct ssh_error *error)
{
	struct dial *dial = arg;

	return ssh_connect_to(dial->target, endpoint, dial->cancel, dial->out, error);
}

int ssh_connect(const struct ssh_target *target, struct ssh_cancel *cancel,
    struct ssh_connection **out, struct ssh_error *error)
{
	struct dial dial = {target, cancel, out};

	return ssh_try_places(target, cancel, dial_one, &dial, error);
}
