// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "bench/perf.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <iomanip>
#include <istream>
#include <ostream>
#include <stdexcept>

#include <nlohmann/json.hpp>

namespace srd::tool {
namespace {

constexpr double panel_width = 400;
constexpr double panel_height = 280;
constexpr double margin_left = 60;
constexpr double margin_top = 40;
constexpr double panel_step = panel_width + margin_left + 30;
constexpr double legend_line = 18;

/// Colours that people who are colour-blind tell apart (Okabe and Ito).
constexpr std::array colours{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"};

/// A logarithmic axis, from a power of `step` to another.
struct Axis {
    double low = 1;
    double high = 1;
    double step = 10;

    static Axis over(const std::vector<PerfRun>& runs, double step,
                     const std::function<double(const PerfRow&)>& value)
    {
        double low = HUGE_VAL;
        double high = 0;
        for (const PerfRun& run : runs) {
            for (const PerfRow& row : run.rows) {
                low = std::min(low, value(row));
                high = std::max(high, value(row));
            }
        }
        const double first = std::floor(std::log(low) / std::log(step));
        const double last = std::max(first + 1, std::ceil(std::log(high) / std::log(step)));
        return {std::pow(step, first), std::pow(step, last), step};
    }
    /// Of its length, 0 to 1.
    double place(double value) const { return std::log(value / low) / std::log(high / low); }
    template <typename Visitor>
    void for_each_mark(Visitor&& visit) const
    {
        for (double mark = low; mark < high * 1.01; mark *= step) {
            visit(mark);
        }
    }
};

std::string escaped(const std::string& text)
{
    std::string result;
    for (const char letter : text) {
        switch (letter) {
        case '&':
            result += "&amp;";
            break;
        case '<':
            result += "&lt;";
            break;
        case '>':
            result += "&gt;";
            break;
        default:
            result += static_cast<unsigned char>(letter) < ' ' ? '?' : letter;
        }
    }
    return result;
}

std::string short_number(double value, double thousand, const std::array<const char*, 4>& units)
{
    std::size_t unit = 0;
    while (value >= thousand && unit + 1 < units.size()) {
        value /= thousand;
        ++unit;
    }
    std::string text = std::to_string(value);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') {
        text.pop_back();
    }
    return text + units[unit];
}

/// One of the two pictures.
class Panel {
public:
    Panel(std::ostream& out, double left, Axis x, Axis y) : out_(out), left_(left), x_(x), y_(y) {}

    void frame(const std::string& title)
    {
        out_ << "<text class=\"title\" x=\"" << left_ << "\" y=\"" << margin_top - 14 << "\">" << title
             << "</text>\n";
        x_.for_each_mark([&](double mark) {
            line(x_at(mark), margin_top, x_at(mark), margin_top + panel_height);
            label(x_at(mark), margin_top + panel_height + 16, "middle",
                  short_number(mark, 1024, {" B", " KiB", " MiB", " GiB"}));
        });
        y_.for_each_mark([&](double mark) {
            line(left_, y_at(mark), left_ + panel_width, y_at(mark));
            label(left_ - 6, y_at(mark) + 4, "end", short_number(mark, 1e300, {"", "", "", ""}));
        });
    }

    void curve(const PerfRun& run, const char* colour, bool dashed,
               const std::function<double(const PerfRow&)>& value)
    {
        out_ << "<polyline fill=\"none\" stroke=\"" << colour << "\" stroke-width=\"" << (dashed ? 1 : 2)
             << '"' << (dashed ? " stroke-dasharray=\"4 3\"" : "") << " points=\"";
        for (const PerfRow& row : run.rows) {
            out_ << x_at(row.size) << ',' << y_at(value(row)) << ' ';
        }
        out_ << "\"/>\n";
        for (const PerfRow& row : run.rows) {
            if (!dashed) {
                out_ << "<circle cx=\"" << x_at(row.size) << "\" cy=\"" << y_at(value(row))
                     << "\" r=\"3\" fill=\"" << colour << "\"/>\n";
            }
        }
    }

private:
    double x_at(double value) const { return left_ + panel_width * x_.place(value); }
    double y_at(double value) const { return margin_top + panel_height * (1 - y_.place(value)); }
    void line(double x1, double y1, double x2, double y2)
    {
        out_ << "<line stroke=\"#ddd\" x1=\"" << x1 << "\" y1=\"" << y1 << "\" x2=\"" << x2 << "\" y2=\""
             << y2 << "\"/>\n";
    }
    void label(double x, double y, const char* anchor, const std::string& text)
    {
        out_ << "<text text-anchor=\"" << anchor << "\" x=\"" << x << "\" y=\"" << y << "\">" << text
             << "</text>\n";
    }

    std::ostream& out_;
    const double left_;
    const Axis x_;
    const Axis y_;
};

double megabytes(const PerfRow& row)
{
    return row.bytes_per_second / 1e6;
}

} // namespace

PerfRun read_run(std::istream& in)
{
    PerfRun run;
    try {
        const nlohmann::json json = nlohmann::json::parse(in);
        run.name = json.at("domain").get<std::string>();
        for (const nlohmann::json& row : json.at("rows")) {
            run.rows.push_back({row.at("size").get<double>(), row.at("median_us").get<double>(),
                                row.at("p99_us").get<double>(), row.at("bytes_per_second").get<double>()});
        }
    } catch (const nlohmann::json::exception& error) {
        throw std::runtime_error(std::string("it is not what srd bench --json prints: ") + error.what());
    }
    std::erase_if(run.rows, [](const PerfRow& row) {
        return !(row.size > 0 && row.median_us > 0 && row.p99_us > 0 && row.bytes_per_second > 0);
    });
    if (run.rows.empty()) {
        throw std::runtime_error("it has no measurements");
    }
    std::sort(run.rows.begin(), run.rows.end(),
              [](const PerfRow& a, const PerfRow& b) { return a.size < b.size; });
    return run;
}

void write_plot(const std::vector<PerfRun>& runs, std::ostream& out)
{
    const double height = margin_top + panel_height + 40 + legend_line * static_cast<double>(runs.size() + 1);
    out << std::fixed << std::setprecision(1) << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\""
        << 2 * panel_step + 10 << "\" height=\"" << height
        << "\" font-family=\"sans-serif\" font-size=\"12\">\n<style>.title{font-size:14px}</style>\n"
           "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
    const Axis x = Axis::over(runs, 8, [](const PerfRow& row) { return row.size; });
    // The slowest of a hundred are never faster than the median, but a file can say anything.
    Axis times = Axis::over(runs, 10, [](const PerfRow& row) { return std::min(row.median_us, row.p99_us); });
    times.high =
        Axis::over(runs, 10, [](const PerfRow& row) { return std::max(row.median_us, row.p99_us); }).high;
    Panel latency(out, margin_left, x, times);
    Panel bandwidth(out, margin_left + panel_step, x, Axis::over(runs, 10, megabytes));
    latency.frame("half a round trip, µs: median, and 99 % (dashed)");
    bandwidth.frame("stream of messages, MB/s");
    double y = margin_top + panel_height + 44;
    for (std::size_t i = 0; i < runs.size(); ++i, y += legend_line) {
        const char* const colour = colours[i % colours.size()];
        latency.curve(runs[i], colour, false, [](const PerfRow& row) { return row.median_us; });
        latency.curve(runs[i], colour, true, [](const PerfRow& row) { return row.p99_us; });
        bandwidth.curve(runs[i], colour, false, megabytes);
        out << "<rect x=\"" << margin_left << "\" y=\"" << y - 10 << "\" width=\"12\" height=\"12\" fill=\""
            << colour << "\"/>\n<text x=\"" << margin_left + 18 << "\" y=\"" << y << "\">"
            << escaped(runs[i].name) << "</text>\n";
    }
    out << "</svg>\n";
}

} // namespace srd::tool
