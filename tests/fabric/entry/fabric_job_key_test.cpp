// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Job keys: two processes with one key meet, all others are told why not.
#include <array>
#include <csignal>
#include <string>

#include "fabric/entry/keyed_process.hpp"

using namespace fabric_test;

namespace {

const std::string third_key = "ffeeddccbbaa99887766554433221100f0e1d2c3b4a5968778695a4b3c2d1e0f\n";

struct Meeting {
    Meeting(const char* server_key, const char* client_key, const AuthKeys& server_keys = {},
            const AuthKeys& client_keys = {})
    {
        std::array<int, 2> pipe{};
        REQUIRE(::pipe(pipe.data()) == 0);
        const pid_t server = start(server_key, server_file, [&] { return serve(pipe[1], server_keys); });
        const pid_t client =
            start(client_key, client_file, [&] { return send_one(read_name(pipe[0]), client_keys); });
        client_end = end_of(client);
        if (client_end != End::served) {
            ::kill(server, SIGKILL);
        }
        end_of(server);
        ::close(pipe[0]);
        ::close(pipe[1]);
    }

    TempFile server_file;
    TempFile client_file;
    End client_end = End::other;
};

/// Ends a process that waits for what has failed.
struct Reaper {
    pid_t process;
    ~Reaper() { ::kill(process, SIGKILL); }
};

} // namespace

TEST_CASE("job key: processes with one key meet, in the middle of its replacement as well")
{
    const TempFile old_first(one_key);
    const TempFile new_behind(one_key + other_key);
    const TempFile new_first(other_key + one_key);
    const TempFile new_only(other_key);
    for (const auto& [server, client] :
         {std::pair(&old_first, &old_first), std::pair(&old_first, &new_behind),
          std::pair(&new_first, &new_behind), std::pair(&new_only, &new_first)}) {
        const Meeting meeting(server->name(), client->name());
        INFO(meeting.client_file.read());
        CHECK(meeting.client_end == End::served);
        CHECK(meeting.client_file.read().empty());
    }
}

TEST_CASE("job key: who has none, or another one, is refused in words, at both ends")
{
    const TempFile one(one_key);
    const TempFile other(other_key);
    struct Row {
        const char* server;
        const char* client;
    };
    for (const Row& row :
         {Row{one.name(), nullptr}, Row{nullptr, one.name()}, Row{one.name(), other.name()}}) {
        const Meeting meeting(row.server, row.client);
        const std::string client = meeting.client_file.read();
        const std::string server = meeting.server_file.read();
        INFO("client: " << client << "server: " << server);
        CHECK(meeting.client_end == End::key_rejected);
        CHECK(contains(client, "with another job key, or only one of the two sides seals it"));
        CHECK(contains(server, "rx_auth_failed"));
    }
}

TEST_CASE("job key: a file that others can read, or that holds no key, is a reason not to be offered")
{
    const TempFile readable(one_key, 0644);
    const TempFile hollow("hello\n");
    for (const auto& [file, text] :
         {std::pair(readable.name(), "chmod 600"), std::pair(hollow.name(), "openssl rand"),
          std::pair("/nowhere/at/all", "/nowhere/at/all")}) {
        const TempFile words;
        const pid_t process =
            start(file, words, [] { return is_offered() ? End::served : End::not_offered; });
        CHECK(end_of(process) == End::not_offered);
        INFO(words.read());
        CHECK(contains(words.read(), "FI_SRD_JOB_KEY_FILE"));
        CHECK(contains(words.read(), text));
        CHECK(contains(words.read(), "srd is not offered until then"));
    }
}

TEST_CASE("job key: it is replaced while a server runs, and who has met it under the old one goes on")
{
    const TempFile file(one_key); // the server's
    const TempFile one(one_key);
    const TempFile both(one_key + other_key);
    const TempFile other(other_key);
    const TempFile none_of_them(third_key);
    TempFile words;
    TempFile server_words;
    std::array<int, 2> pipe{};
    std::array<int, 2> go_on{};
    std::array<int, 2> met{};
    REQUIRE((::pipe(pipe.data()) == 0 && ::pipe(go_on.data()) == 0 && ::pipe(met.data()) == 0));
    char letter = 'x';
    ::setenv("FI_SRD_CONNECT_TIMEOUT_MS", "20000", 1); // it looks at the file once in a second
    const pid_t server = start(file.name(), server_words, [&] { return serve(pipe[1], {}, 4); });
    const Reaper server_ends{server};
    const Name name = read_name(pipe[0]);
    const pid_t first = start(one.name(), words, [&] {
        return send_two(
            name, {}, [&] { return ::write(met[1], &letter, 1) == 1 && ::read(go_on[0], &letter, 1) == 1; });
    });
    const Reaper first_ends{first};
    REQUIRE(::read(met[0], &letter, 1) == 1);

    file.write(other_key + one_key);
    const TempFile early_words; // it is asked for a key that it has, until the server has read the file
    CHECK(end_of(start(other.name(), early_words, [&] { return send_one(name); })) == End::served);
    CHECK(end_of(start(both.name(), words, [&] { return send_one(name); })) == End::served);
    CHECK(words.read().empty());
    CHECK(server_words.read().empty());

    file.write("half a ke");
    ::setenv("FI_SRD_CONNECT_TIMEOUT_MS", "3000", 1);
    CHECK(end_of(start(none_of_them.name(), words, [&] { return send_one(name); })) == End::key_rejected);
    CHECK(contains(server_words.read(), "its former keys stay in use"));
    file.write(other_key);
    CHECK(end_of(start(none_of_them.name(), words, [&] { return send_one(name); })) == End::key_rejected);
    CHECK(end_of(start(one.name(), words, [&] { return send_one(name); })) == End::key_rejected);

    REQUIRE(::write(go_on[1], &letter, 1) == 1);
    CHECK(end_of(first) == End::served);
    CHECK(end_of(server) == End::served);
    ::unsetenv("FI_SRD_CONNECT_TIMEOUT_MS");
}

TEST_CASE("auth_key: of the domain or of the endpoint, it is as good as a file, and counts for more")
{
    const TempFile one(one_key);
    const TempFile other(other_key);
    const std::string raw = "0123456789abcdef\x01\xff\x02 and as long as it must be";
    struct Row {
        const char* server_file;
        AuthKeys server;
        const char* client_file;
        AuthKeys client;
        End end;
    };
    for (const Row& row : {
             Row{nullptr, {raw, {}}, nullptr, {{}, raw}, End::served},
             Row{one.name(), {}, nullptr, {one_key, {}}, End::served},
             Row{one.name(), {}, other.name(), {one_key, {}}, End::served},
             Row{nullptr, {other_key, one_key}, one.name(), {}, End::served},
             Row{nullptr, {other_key, {}}, one.name(), {}, End::key_rejected},
             Row{nullptr, {raw, {}}, nullptr, {}, End::key_rejected},
         }) {
        const Meeting meeting(row.server_file, row.client_file, row.server, row.client);
        INFO(meeting.client_file.read() << meeting.server_file.read());
        CHECK(meeting.client_end == row.end);
    }
}

TEST_CASE("auth_key: one that is none is refused with a line")
{
    const auto found = [](const AuthKeys& keys, std::size_t size, const TempFile& words) {
        return end_of(start(nullptr, words, [&] {
            ::setenv("FI_LOG_LEVEL", "warn", 1);
            InfoPtr hints = hints_with(keys);
            hints->domain_attr->auth_key_size = size != 0 ? size : hints->domain_attr->auth_key_size;
            int code = 0;
            const InfoPtr list = get_info(code, hints.get());
            hints->domain_attr->auth_key_size = 0;
            return code == 0 ? End::served : End::not_offered;
        }));
    };
    const std::string short_key("\xff only sixteen ");
    TempFile words;
    CHECK(found({short_key, {}}, 0, words) == End::not_offered);
    CHECK(
        contains(words.read(), "domain_attr->auth_key: the key (not text, so taken as it is) has 15 bytes"));
    TempFile ep_words;
    CHECK(found({{}, "hello"}, 0, ep_words) == End::not_offered);
    CHECK(contains(ep_words.read(), "ep_attr->auth_key: line 1 is no key"));
    TempFile size_words;
    CHECK(found({}, 40, size_words) == End::not_offered);
    CHECK(contains(size_words.read(), "there is a size, but no key"));
    TempFile av_words;
    CHECK(found({}, ~std::size_t{0}, av_words) == End::not_offered);
    CHECK(contains(av_words.read(), "FI_AV_AUTH_KEY"));
}
