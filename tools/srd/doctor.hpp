// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The command srd doctor.
#pragma once

namespace CLI {
class App;
} // namespace CLI

namespace srd::tool {

/// `status`: what becomes the program's exit status.
void add_doctor(CLI::App& app, int& status);

} // namespace srd::tool
