#include "transport/sftp_rtt.h"

#define WINDOW_NS (30 * UINT64_C(1000000000)) /* two of them are looked at */

/* So many in a row, each so many times the least, and more than a busy machine makes of a short
 * one, are another link. */
#define RUN_SAMPLES 3
#define RUN_TIMES 8
#define RUN_US 5000

/* Data that takes longer than so many round trips, and than a busy machine makes of them, waited
 * behind other data. */
#define CROWDED_RTTS 3
#define CROWDED_NS UINT64_C(20000000)

static void note_run(struct sftp_rtt *rtt, uint32_t sample)
{
	if (sample < RUN_US || sample / RUN_TIMES < sftp_rtt_least(rtt)) {
		rtt->run = 0;
		return;
	}
	if (!rtt->run++ || sample < rtt->run_least)
		rtt->run_least = sample;
	if (rtt->run < RUN_SAMPLES)
		return;
	rtt->least = rtt->run_least;
	rtt->least_before = rtt->run = 0;
}

static uint32_t passed_us(uint64_t sent_ns, uint64_t now_ns)
{
	uint64_t us = (now_ns - sent_ns) / 1000;

	return us < 1 ? 1 : us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

void sftp_rtt_sample(struct sftp_rtt *rtt, uint64_t sent_ns, uint64_t now_ns)
{
	uint32_t sample = passed_us(sent_ns, now_ns);

	if (!rtt->smooth)
		rtt->smooth = sample;
	else
		rtt->smooth = (uint32_t)(((uint64_t)rtt->smooth * 7 + sample + 4) / 8);
	if (!rtt->least || now_ns - rtt->window_ns >= WINDOW_NS) {
		/* A window that ended long ago tells nothing of the link as it is now. */
		rtt->least_before = now_ns - rtt->window_ns < 2 * WINDOW_NS ? rtt->least : 0;
		rtt->least = sample;
		rtt->window_ns = now_ns;
	} else if (sample < rtt->least) {
		rtt->least = sample;
	}
	note_run(rtt, sample);
}

uint32_t sftp_rtt_least(const struct sftp_rtt *rtt)
{
	return rtt->least_before && rtt->least_before < rtt->least ? rtt->least_before : rtt->least;
}

void sftp_rtt_data(struct sftp_rtt *rtt, uint64_t sent_ns, uint64_t now_ns)
{
	rtt->data = passed_us(sent_ns, now_ns);
	rtt->crowded =
	    now_ns - sent_ns > CROWDED_NS + UINT64_C(1000) * CROWDED_RTTS * sftp_rtt_least(rtt);
}
