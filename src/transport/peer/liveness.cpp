// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/liveness.hpp"

namespace srd {

bool Liveness::on_answer(RouteNotice::Kind kind, Time since, Time now) noexcept
{
    using Kind = RouteNotice::Kind;
    if (since < heard_at_) {
        return false;
    }
    switch (kind) {
    case Kind::process_gone:
        evidence_.gone = true;
        believe_gone(now);
        return false;
    case Kind::process_alive:
        forget_evidence();
        signs_missed_ = 0;
        alive_at_ = now;
        return false;
    case Kind::process_reads:
    case Kind::process_busy:
        evidence_.is_busy = kind == Kind::process_busy;
        evidence_.busy_known = true;
        reads_in_vain_ = evidence_.is_busy ? std::uint8_t{0}
                                           : static_cast<std::uint8_t>(std::min(reads_in_vain_ + 1, 255));
        return false;
    default:
        evidence_.host_unreachable = true;
        return !heard_ && silence(now) >= way_patience;
    }
}

/// Whoever looks late by more than an interval was not there in the meantime. Returns when this look was due.
Time Liveness::forgive_absence(Time last_pass, Time now) noexcept
{
    const Time due = check_at_;
    const Duration absence = now - std::max(due, last_pass);
    if (absence > interval) {
        waiting_since_ = std::max(heard_at_, waiting_since_) + absence;
        check_at_ = now; // once, though it may stay due
    }
    return due;
}

/// The peer is silent for as long as the bound. Is there a reason to wait for it?
bool Liveness::may_yet_answer(Duration silence, Duration bound, Time asked_at, const Tuning& tuning,
                              Time now) const noexcept
{
    if (silence >= tuning.stopped_timeout) {
        return false;
    }
    if (heard_ && reads_in_vain_ >= reads_in_vain) {
        return false;
    }
    return heard_ ? alive_at_ != Time{} && (now - alive_at_ < bound || alive_at_ >= asked_at)
                  : evidence_.busy_known && evidence_.is_busy;
}

/// Nothing is owed, so silence alone says little: a process may compute for hours. It is dead if its host,
/// which has answered for it before, does so no more.
Liveness::Verdict Liveness::look_for_sign(RouteId route, LivenessQuestions& questions, Counters& count,
                                          Time now) noexcept
{
    if (!sign_wanted_) {
        check_at_ = time_never;
        return Verdict::wait;
    }
    if (!questions.add({route, LivenessProbe::exists}, now)) {
        return Verdict::wait; // stays due
    }
    count.liveness_probes.add();
    sign_wanted_ = false;
    check_at_ = time_never;
    if (alive_at_ != Time{} && signs_missed_ >= signs_missed) {
        return Verdict::dead;
    }
    signs_missed_ = static_cast<std::uint8_t>(std::min(signs_missed_ + 1, int{signs_missed}));
    return Verdict::ask;
}

Liveness::Verdict Liveness::check(bool unanswered, bool owed, RouteId route, LivenessQuestions& questions,
                                  const Tuning& tuning, Counters& count, Time now) noexcept
{
    hint_asked_ = hint_asked_ && now < check_at_;
    if (!unanswered && !owed && !proof_wanted_ && !evidence_.hint) {
        return look_for_sign(route, questions, count, now);
    }
    if (now < check_at_) {
        return Verdict::wait;
    }
    const Time due = forgive_absence(questions.drained_at(), now);
    const Duration silence = this->silence(now);
    const Duration bound = heard_ ? tuning.peer_timeout : tuning.connect_timeout;
    const bool overdue = silence >= bound;
    if (last_call_ && overdue && questions.drained_at() < due) {
        return Verdict::wait; // stays due: the next pass judges, or the one after that
    }
    const Time asked_at = due - interval; // the time before this
    const bool patient = overdue && may_yet_answer(silence, bound, asked_at, tuning, now);
    if (silence >= interval || evidence_.hint) {
        const bool reads = overdue && (!heard_ || overdue_looks_ % looks_per_reads == 0);
        if (!questions.add({route, reads ? LivenessProbe::reads : LivenessProbe::exists}, now)) {
            return Verdict::wait; // likewise
        }
        overdue_looks_ = static_cast<std::uint8_t>(overdue_looks_ + (overdue ? 1 : 0));
        count.liveness_probes.add();
        evidence_.busy_known = false;
    }
    check_at_ = now + interval;
    if (evidence_.hint) {
        evidence_.hint = false;
        hint_asked_ = true;
        return Verdict::ask;
    }
    if (!overdue) {
        return unanswered ? Verdict::wait : Verdict::ask;
    }
    if (patient) {
        count.liveness_extensions.add();
        return Verdict::ask;
    }
    if (!last_call_) {
        last_call_ = true;
        return Verdict::ask;
    }
    return Verdict::dead;
}

Cause Liveness::cause(Time now) const noexcept
{
    if (evidence_.gone) {
        return Cause::refused;
    }
    if (heard_ && reads_in_vain_ >= reads_in_vain) {
        return Cause::cut_off;
    }
    if (heard_) {
        return evidence_.host_unreachable ? Cause::unreachable : Cause::stopped_answering;
    }
    if (is_seen(now)) {
        return Cause::not_heard;
    }
    return evidence_.host_unreachable ? Cause::unreachable : Cause::never_answered;
}

} // namespace srd
