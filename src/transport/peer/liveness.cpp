// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/liveness.hpp"

namespace srd {

Liveness::Verdict Liveness::check(bool unanswered, bool owed, RouteId route, LivenessQuestions& questions,
                                  const Tuning& tuning, Counters& count, Time now) noexcept
{
    if (!unanswered && !owed && !proof_wanted_) {
        check_at_ = time_never;
        return Verdict::wait;
    }
    if (now < check_at_) {
        return Verdict::wait;
    }
    const Duration silence = now - std::max(heard_at_, waiting_since_);
    const Duration bound = heard_ ? tuning.peer_timeout : tuning.connect_timeout;
    if (last_call_ && silence >= bound && questions.drained_at() < check_at_) {
        return Verdict::wait; // stays due: the next pass judges, or the one after that
    }
    if (silence >= interval) {
        if (!questions.add(route, now)) {
            return Verdict::wait; // likewise
        }
        count.liveness_probes.add();
    }
    const Time asked_at = check_at_ - interval; // the time before this
    check_at_ = now + interval;
    if (silence < bound) {
        return unanswered ? Verdict::wait : Verdict::ask;
    }
    const bool exists = alive_at_ != Time{} && (now - alive_at_ < bound || alive_at_ >= asked_at);
    if (exists && silence < tuning.stopped_timeout) {
        count.liveness_extensions.add();
        return Verdict::ask;
    }
    if (!last_call_) {
        last_call_ = true;
        return Verdict::ask;
    }
    return Verdict::dead;
}

} // namespace srd
