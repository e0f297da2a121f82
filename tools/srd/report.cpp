// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "report.hpp"

#include <algorithm>
#include <iomanip>
#include <istream>
#include <ostream>

#include <srd/counters.hpp>

namespace srd::tool {

namespace {

std::string percent(double share)
{
    std::ostringstream text;
    text << std::fixed << std::setprecision(share < 0.001 ? 4 : 2) << share * 100 << " %";
    return text.str();
}

} // namespace

void Report::add(std::istream& in)
{
    for (std::string line; std::getline(in, line);) {
        if (line.empty()) {
            continue;
        }
        const nlohmann::json record = nlohmann::json::parse(line, nullptr, false);
        const auto text_of = [&](const char* name) {
            return record.contains(name) && record[name].is_string() ? record[name].get<std::string>() : "";
        };
        if (!record.is_object() || text_of("provider") != "srd") {
            ++strange_lines_;
            continue;
        }
        ++endpoints_;
        const std::string address = text_of("address");
        const std::string named = text_of("host");
        const std::string host = named.empty() ? address.substr(0, address.rfind(':')) : named;
        hosts_.insert(host);
        processes_.insert(host + ' ' + (record.contains("pid") ? record["pid"].dump() : ""));
        for (const auto& [name, value] : record.items()) {
            if (!value.is_number_unsigned() || name == "pid" || name == "rank") {
                continue;
            }
            Sum& sum = sums_[name];
            const auto count = value.get<std::uint64_t>();
            sum.total += count;
            if (count > sum.most) {
                sum.most = count;
                sum.most_at = address;
            }
        }
    }
}

std::uint64_t Report::total(const char* name) const
{
    const auto found = sums_.find(name);
    return found == sums_.end() ? 0 : found->second.total;
}

double Report::share(const char* part, std::initializer_list<const char*> wholes) const
{
    std::uint64_t whole = 0;
    for (const char* const name : wholes) {
        whole += total(name);
    }
    return whole == 0 ? 0 : static_cast<double>(total(part)) / static_cast<double>(whole);
}

void Report::print(std::ostream& out) const
{
    out << endpoints_ << " endpoints of " << processes_.size() << " processes on " << hosts_.size()
        << " hosts\n";
    if (strange_lines_ != 0) {
        out << strange_lines_ << " lines are not srd's statistics and are left out\n";
    }
    const std::uint64_t repeated = total("retransmits_rack") + total("retransmits_probe") +
                                   total("retransmits_timeout") + total("retransmits_refused") +
                                   total("retransmits_mtu");
    if (const std::uint64_t sent = total("tx_packets"); sent != 0) {
        out << "repeated: " << percent(static_cast<double>(repeated) / static_cast<double>(sent))
            << " of packets sent; out of order: " << percent(share("rx_out_of_order", {"rx_packets"}))
            << ", marked: " << percent(share("rx_marked", {"rx_packets"})) << " of packets received\n";
    }
    out << '\n';
    const auto row = [&](const char* name, const Sum& sum, const char* text) {
        if (sum.total != 0) {
            out << std::left << std::setw(24) << name << std::right << std::setw(20) << sum.total
                << std::setw(18) << sum.most << "  " << std::left << std::setw(24) << sum.most_at << text
                << '\n';
        }
    };
    out << std::left << std::setw(24) << "counter" << std::right << std::setw(20) << "sum" << std::setw(18)
        << "most"
        << "  " << std::left << std::setw(24) << "at"
        << "what it counts\n";
    const Counters known;
    for_each_counter(known, [&](const char* name, const char* text, std::uint64_t) {
        if (const auto found = sums_.find(name); found != sums_.end()) {
            row(name, found->second, text);
        }
    });
    for (const auto& [name, sum] : sums_) { // of another version
        bool is_known = false;
        for_each_counter(known, [&, &counter = name](const char* each, const char*, std::uint64_t) {
            is_known = is_known || counter == each;
        });
        if (!is_known) {
            row(name.c_str(), sum, "");
        }
    }
}

nlohmann::json Report::json() const
{
    nlohmann::json counters = nlohmann::json::object();
    for (const auto& [name, sum] : sums_) {
        counters[name] = {{"sum", sum.total}, {"most", sum.most}, {"most_at", sum.most_at}};
    }
    return {{"endpoints", endpoints_},
            {"processes", processes_.size()},
            {"hosts", hosts_.size()},
            {"strange_lines", strange_lines_},
            {"counters", counters}};
}

} // namespace srd::tool
