// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "findings.hpp"

#include <algorithm>
#include <ostream>
#include <string_view>
#include <utility>

namespace srd::tool {

namespace {

constexpr const char* name_of(Level level) noexcept
{
    switch (level) {
    case Level::ok:
        return "ok";
    case Level::warning:
        return "warning";
    case Level::broken:
        return "broken";
    }
    return "";
}

/// `text` from column `indent` on, broken at spaces.
void print_wrapped(std::ostream& out, std::string_view text, std::size_t indent, std::size_t width)
{
    const std::size_t room = width > indent + 20 ? width - indent : 20;
    while (text.size() > room) {
        std::size_t end = text.rfind(' ', room);
        if (end == std::string_view::npos || end == 0) {
            end = std::min(text.find(' ', room), text.size());
        }
        out << text.substr(0, end) << '\n';
        text.remove_prefix(std::min(end + 1, text.size()));
        if (text.empty()) {
            return;
        }
        out << std::string(indent, ' ');
    }
    out << text << '\n';
}

} // namespace

void Findings::ok(std::string topic, std::string text)
{
    all_.push_back({Level::ok, std::move(topic), std::move(text), {}});
}

void Findings::warning(std::string topic, std::string text, std::string cure)
{
    all_.push_back({Level::warning, std::move(topic), std::move(text), std::move(cure)});
}

void Findings::broken(std::string topic, std::string text, std::string cure)
{
    all_.push_back({Level::broken, std::move(topic), std::move(text), std::move(cure)});
}

void Findings::add(const Findings& other, const std::string& prefix)
{
    for (const Finding& finding : other.all_) {
        all_.push_back(finding);
        all_.back().topic = prefix + finding.topic;
    }
}

int Findings::status() const noexcept
{
    Level worst = Level::ok;
    for (const Finding& finding : all_) {
        worst = std::max(worst, finding.level);
    }
    return static_cast<int>(worst);
}

void Findings::print(std::ostream& out, std::size_t width) const
{
    constexpr std::size_t level_width = 9;
    std::size_t topic_width = 0;
    for (const Finding& finding : all_) {
        topic_width = std::max(topic_width, finding.topic.size() + 2);
    }
    const auto padded = [](std::string text, std::size_t columns) {
        text.resize(std::max(text.size(), columns), ' ');
        return text;
    };
    const std::size_t indent = level_width + topic_width;
    for (const Finding& finding : all_) {
        out << padded(name_of(finding.level), level_width) << padded(finding.topic, topic_width);
        print_wrapped(out, finding.text, indent, width);
        if (!finding.cure.empty()) {
            out << std::string(indent, ' ');
            print_wrapped(out, "cure: " + finding.cure, indent + 6, width);
        }
    }
}

nlohmann::json Findings::json() const
{
    nlohmann::json list = nlohmann::json::array();
    for (const Finding& finding : all_) {
        list.push_back({{"level", name_of(finding.level)},
                        {"topic", finding.topic},
                        {"text", finding.text},
                        {"cure", finding.cure}});
    }
    return {{"status", status()}, {"findings", list}};
}

} // namespace srd::tool
