#include "transport/sftp_foresee.h"
#include <stdlib.h>

/* Requests on their way that are looked through for OPENs and CLOSEs. */
#define LOOK_AT 256u

static bool opens(const struct sftp_request *request)
{
	return request->type == SSH_FXP_OPEN || request->type == SSH_FXP_OPENDIR;
}

static bool number_of(const struct sftp_string *handle, uint32_t *out)
{
	struct sftp_reader reader = {handle->data, handle->data + handle->len};

	return handle->len == 4 && !sftp_read_u32(&reader, out);
}

static void give_back(struct sftp_foresee *foresee, uint32_t number)
{
	if (foresee->n_free == foresee->room) {
		size_t room = foresee->room ? 2 * foresee->room : 16;
		uint32_t *larger = realloc(foresee->free, room * sizeof(*larger));

		if (!larger) {
			foresee->off = true;
			return;
		}
		foresee->free = larger;
		foresee->room = room;
	}
	foresee->free[foresee->n_free++] = number;
}

void sftp_foresee_answered(
    struct sftp_table *table, const struct sftp_request *request, const struct sftp_reply *reply)
{
	struct sftp_foresee *foresee = &table->foresee;
	uint32_t number, expected;

	if (foresee->off)
		return;
	if (request->type == SSH_FXP_CLOSE) { /* free, whatever the answer */
		give_back(foresee, request->handle);
	} else if (opens(request) && !reply->err) {
		expected = foresee->n_free ? foresee->free[--foresee->n_free] : foresee->ever++;
		foresee->off = !number_of(&reply->handle, &number) || number != expected;
		foresee->seen = true;
	}
}

/* The list is short where this is asked for: small operations. */
bool sftp_foresee_next(const struct sftp_table *table, bool likely, struct sftp_handle *out)
{
	const struct sftp_foresee *foresee = &table->foresee;
	uint32_t closed[LOOK_AT], ever = foresee->ever, number;
	size_t n_closed = 0, n_free = foresee->n_free;
	const struct sftp_request *request;
	unsigned looked = 0;

	if (foresee->off || (!foresee->seen && !likely) || table->abandoned)
		return false;
	TAILQ_FOREACH (request, &table->waiting, order) {
		if (++looked > LOOK_AT)
			return false;
		if (request->type == SSH_FXP_CLOSE)
			closed[n_closed++] = request->handle;
		else if (opens(request) && n_closed)
			n_closed--;
		else if (opens(request) && n_free)
			n_free--;
		else if (opens(request))
			ever++;
	}
	number = n_closed ? closed[n_closed - 1] : n_free ? foresee->free[n_free - 1] : ever;
	out->len = 4;
	out->data[0] = (uint8_t)(number >> 24);
	out->data[1] = (uint8_t)(number >> 16);
	out->data[2] = (uint8_t)(number >> 8);
	out->data[3] = (uint8_t)number;
	return true;
}
