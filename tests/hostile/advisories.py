"""What went wrong in other WebSocket libraries, and the tests that it does not here (R-C1 to C4).

The tests are where they belong, most of them beside the module that they test. `table.py` runs
them, and a test sees to it that each of them exists.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..scripted import Role

__all__ = ["ADVISORIES", "Advisory", "Test"]


@dataclass(frozen=True, slots=True)
class Test:
    """A test, by its node id without parameters, or a part of it with some.

    Attributes:
        node: the file, relative to `tests`, and the function.
        roles: of our side; what a parameter of the test says goes first.
        only: a part of the names of its parameters; empty for all.
    """

    __test__ = False

    node: str
    roles: tuple[Role, ...]
    only: str = ""


@dataclass(frozen=True, slots=True)
class Advisory:
    """What was wrong, and where.

    Attributes:
        ids: of advisories and issues.
        fault: in one line.
        tests: that it is not so here.
    """

    ids: str
    fault: str
    tests: tuple[Test, ...]


def _both(*nodes: str, only: str = "") -> tuple[Test, ...]:
    return tuple(Test(node, ("server", "client"), only) for node in nodes)


def _server(*nodes: str, only: str = "") -> tuple[Test, ...]:
    return tuple(Test(node, ("server",), only) for node in nodes)


def _client(*nodes: str, only: str = "") -> tuple[Test, ...]:
    return tuple(Test(node, ("client",), only) for node in nodes)


def _floods(*names: str) -> tuple[Test, ...]:
    node = "hostile/test_floods.py::test_flood_stays_within_the_limits"
    return tuple(Test(node, ("server", "client"), f"{name}-") for name in names)


def _requests(*names: str) -> tuple[Test, ...]:
    node = "test_requests.py::test_request_is_answered_and_the_server_lives"
    return tuple(Test(node, ("server",), name) for name in names)


_BOMBS = (
    *_both("test_compression.py::test_bomb_ends_in_1009_and_little_memory"),
    *_floods("bomb", "bomb of text", "bombs within the limit, unread"),
)
_LENGTHS = _both("hostile/test_frames.py::test_declared_length_is_judged_by_the_header")

ADVISORIES: tuple[Advisory, ...] = (
    Advisory(
        "CVE-2018-1000518 (websockets)",
        "the limit on size was not for decompressed data",
        _BOMBS,
    ),
    Advisory(
        "CVE-2021-33880 (websockets)",
        "comparing passwords leaked their timing",
        _server(
            "test_auth.py::test_each_user_has_a_password_of_its_own",
            "test_auth.py::test_wrong_name_or_password_is_refused",
            "test_auth.py::test_hostile_password_is_compared_in_linear_time",
        ),
    ),
    Advisory(
        "GHSA-9p9m-jm8w-94p2 (eventlet)",
        "huge frames, and huge decompressed ones, had no limit",
        (*_BOMBS[:1], *_both("_core/test_protocol.py::test_declared_length_allocates_nothing")),
    ),
    Advisory(
        "CVE-2022-35922 (rust-websocket)",
        "memory was allocated for the declared length",
        (*_LENGTHS, *_floods("2^62 bytes announced", "1 MiB announced and not sent")),
    ),
    Advisory(
        "CVE-2020-27813 (gorilla), PYSEC-2026-4395 (aiohttp)",
        "lengths of 63 or 64 bits passed the limit by overflow",
        (*_LENGTHS, *_floods("2^63-1 bytes announced behind a fragment")),
    ),
    Advisory(
        "CVE-2026-1528 (undici)",
        "a length of 64 bits crashed the client",
        (*_LENGTHS, *_floods("2^64-1 bytes announced")),
    ),
    Advisory(
        "CVE-2026-54274, PYSEC-2026-2108 (aiohttp)",
        "large frames passed the limit until they were complete",
        (
            *_both("_core/test_protocol.py::test_size_is_judged_by_the_header_before_the_payload"),
            *_LENGTHS,
        ),
    ),
    Advisory(
        "CVE-2026-123817 (aiohttp), CVE-2026-48779, -62389 (ws)",
        "fragments and small reads cost memory of their own",
        (
            *_floods(
                "empty fragments",
                "one-byte fragments",
                "one-byte fragments, any number",
                "byte by byte",
            ),
            *_both("_core/test_protocol.py::test_fragments_cost_no_memory_of_their_own"),
            *_both(
                "test_connection_receive.py::test_message_of_too_many_fragments_fails_with_1008"
            ),
        ),
    ),
    Advisory(
        "CVE-2026-12151, CVE-2026-9675 (undici)",
        "empty fragments were kept without limit",
        (
            *_floods("empty fragments", "empty fragments, any number"),
            *_both("_core/test_protocol.py::test_many_fragments_are_taken_in_steps"),
        ),
    ),
    Advisory(
        "aiohttp #13655",
        "bytes piled up after a protocol error nobody received",
        (
            *_both(
                "hostile/test_frames.py::test_connection_that_failed_ends_though_nobody_receives"
            ),
            *_floods("garbage", "after passing a limit", "after its Close frame"),
        ),
    ),
    Advisory(
        "CVE-2026-1526 (undici), GHSA-x8v2-478q-2hvg, WSA-2026-1",
        "decompression without limit",
        _BOMBS,
    ),
    Advisory(
        "CVE-2026-2229 (undici)",
        "server_max_window_bits out of range crashed the client",
        (
            *_client("test_compression.py::test_client_refuses_an_answer_that_does_not_fit"),
            *_client("hostile/test_handshakes.py::test_hostile_answer_is_a_plain_error"),
            *_server(
                "_core/test_deflate.py::test_server_declines_an_offer_that_makes_no_sense",
            ),
        ),
    ),
    Advisory(
        "CVE-2026-128131, GHSA-h4cc-hm5h-fmm9 (aiohttp)",
        "many empty members of DEFLATE took quadratic time",
        (
            *_both("test_compression.py::test_million_empty_blocks_end_the_connection"),
            *_both("_core/test_deflate.py::test_more_last_blocks_than_there_may_be_are_refused"),
            *_floods("empty blocks of DEFLATE", "last blocks of DEFLATE"),
        ),
    ),
    Advisory(
        "GHSA-mq44-7p77-q5h7 (aiohttp)",
        "RSV1 was accepted though compression was not negotiated",
        _both(
            "test_compression.py::test_compressed_message_without_an_agreement_fails_the_connection"
        ),
    ),
    Advisory(
        "websockets 16.1",
        "RSV1 was accepted on continuation frames",
        _both("test_compression.py::test_broken_message_fails_the_connection", only="opcode 0"),
    ),
    Advisory(
        "CVE-2021-32640 (ws), GHSA-g78m-2chm-r7qv",
        "header fields of lists took more than linear time",
        (
            *_both("hostile/test_handshakes.py::test_hostile_field_costs_linear_time"),
            *_both("_core/test_grammar.py::test_hostile_value_is_read_in_linear_time"),
            *_requests("subprotocols of 64 kB", "extensions of 64 kB"),
        ),
    ),
    Advisory(
        "ws before 3.3.1",
        "extensions named like properties of objects crashed it",
        (
            *_requests("extensions of JavaScript", "subprotocols of JavaScript"),
            *_client(
                "hostile/test_handshakes.py::test_hostile_answer_is_a_plain_error", only="extension"
            ),
            *_both(
                "fuzz/test_handshake.py::test_members_of_a_list_have_no_commas_and_no_white_space_around"
            ),
        ),
    ),
    Advisory(
        "CVE-2024-37890 (ws)",
        "too many header fields crashed it",
        (
            *_requests("3,000 fields"),
            *_client(
                "hostile/test_handshakes.py::test_hostile_answer_is_a_plain_error",
                only="3,000 fields",
            ),
            *_floods("head without end", "answer without end"),
        ),
    ),
    Advisory(
        "GHSA-vrg7-482j-p6f6 (granian)",
        "a subprotocol beyond ASCII aborted the worker",
        (
            *_requests("subprotocol beyond ASCII", "subprotocol with an emoji"),
            *_client(
                "hostile/test_handshakes.py::test_hostile_answer_is_a_plain_error",
                only="beyond ASCII",
            ),
        ),
    ),
    Advisory(
        "CVE-2020-7695 (uvicorn), PYSEC-2020-25, CVE-2026-1527",
        "line ends in fields and targets became other fields",
        (
            *_both("hostile/test_injection.py::test_application_cannot_break_a_line"),
            *_server("hostile/test_injection.py::test_hook_cannot_break_a_line"),
            *_client("hostile/test_injection.py::test_redirect_cannot_break_a_line"),
        ),
    ),
    Advisory(
        "GHSA-xh68-hfp5-5x5m (daphne, autobahn)",
        "str.splitlines made fields out of parts of values",
        (
            *_requests("field behind", "behind NEL"),
            *_client("hostile/test_handshakes.py::test_next_line_character_ends_no_line"),
            *_client(
                "hostile/test_handshakes.py::test_hostile_answer_is_a_plain_error", only="x0b"
            ),
            *_server("_core/test_plain_http1.py::test_what_goes_straight_is_a_request_to_h11_too"),
            *_client("_core/test_plain_http1.py::test_what_goes_straight_is_an_upgrade_to_h11_too"),
        ),
    ),
    Advisory(
        "CVE-2020-7694 (uvicorn)",
        "escape sequences of terminals got into the log",
        (
            *_both("hostile/test_injection.py::test_close_reason_cannot_break_a_line_of_the_log"),
            *_server("hostile/test_injection.py::test_request_cannot_break_a_line_of_the_log"),
            *_client("hostile/test_injection.py::test_answer_cannot_break_a_line_of_an_error"),
            *_both("test_logging.py::test_no_peer_can_write_control_characters"),
        ),
    ),
    Advisory(
        "CVE-2018-12541 (Vert.x)",
        "the whole body of a request was kept",
        (
            *_requests("body of 1 GB", "chunk of 1 GB", "chunks with long extensions"),
            *_client("test_visit.py::test_a_refusal_has_as_much_of_its_body_as_came"),
            *_floods("body without end", "refusal without end"),
        ),
    ),
    Advisory(
        "GHSA-rh7x-ppxx-p34c (ws-rs)",
        "what waited to be sent had no limit",
        (
            *_both("test_connection_send.py::test_send_waits_at_the_write_limit"),
            *_both(
                "test_connection.py::"
                "test_flood_of_pings_is_answered_by_the_newest_once_the_peer_reads"
            ),
            *_floods(
                "Pings, peer does not read",
                "Pings of 125 bytes, peer does not read",
                "Pings one by one, peer does not read",
            ),
        ),
    ),
    Advisory(
        "CVE-2026-54463 (websocket-driver)",
        "lengths of draft protocols grew without end",
        (
            *_requests("WebSocket version", "draft 76"),
            *_client("_core/test_handshake.py::test_request_has_what_the_rfc_asks_for_and_no_more"),
        ),
    ),
    Advisory(
        "GHSA-w67g-5rqw-f597 (gorilla)",
        "masking keys could be guessed",
        _client(
            "_core/test_masking.py::test_keys_come_from_the_operating_system_each_once",
            "_core/test_masking.py::test_keys_are_forgotten_after_a_fork",
            "_core/test_protocol.py::test_every_frame_of_a_client_has_a_fresh_mask",
        ),
    ),
    Advisory(
        "Mesop (GitLab advisory)",
        "each message had a thread of its own",
        _both("hostile/test_frames.py::test_messages_take_no_tasks"),
    ),
    Advisory(
        "Twisted GHSA-92x2-jw7w-xvvx, ws #2013, openai-node #2325",
        "credentials followed a redirect to another origin",
        _client(
            "test_visit.py::test_a_redirect_takes_no_credentials_to_another_origin",
            "test_visit.py::test_tls_is_not_given_up",
            "test_visit.py::test_a_token_among_the_subprotocols_stays_at_home",
        ),
    ),
    Advisory(
        "awx #2467, cockpit #496, kemal #766, ws-rs #98",
        "pages of other sites could connect (C3)",
        _server(
            "test_answer.py::test_a_page_of_another_site_may_not_connect",
            "_core/test_origins.py::test_page_of_another_host_is_refused",
            "_core/test_origins.py::test_origin_that_is_not_listed_is_refused",
            "_core/test_origins.py::test_pattern_matches_the_whole_origin_as_it_was_sent",
            "_core/test_origins.py::test_proxy_that_ends_tls_makes_no_difference",
        ),
    ),
    Advisory(
        "CVE-2020-11050 (Java-WebSocket)",
        "the name in a certificate was not checked",
        _client(
            "test_client.py::test_a_certificate_for_another_name_is_refused_unless_that_name_is_given",
            "test_client.py::test_the_default_context_verifies",
        ),
    ),
    Advisory(
        "websocketpp #789, tokio-tungstenite #347, hypercorn 0.6",
        "opening handshakes could be dripped for ever (C4)",
        (
            *_server(
                "test_accept.py::test_a_slow_request_is_answered_with_408",
                "test_accept.py::test_a_slow_tls_handshake_is_cut",
                "test_limits.py::test_the_oldest_handshakes_make_room",
                "test_limits.py::test_one_connection_too_many_is_refused_with_503",
                "test_limits.py::test_one_from_the_same_address_too_many_is_refused_at_once",
                "test_limits.py::test_the_oldest_handshakes_make_room_when_files_run_out",
            ),
            *_client("test_client.py::test_open_timeout_covers_the_handshakes"),
            *_floods("head that is dripped", "answer that is dripped"),
        ),
    ),
    Advisory(
        "CVE-2023-43669 (tungstenite)",
        "very long heads took a lot of time",
        (
            *_requests("200 kB in a field", "target of 200 kB"),
            *_client(
                "hostile/test_handshakes.py::test_hostile_answer_is_a_plain_error", only="17 kB"
            ),
            *_floods("folded lines", "folded lines of an answer", "head without end"),
        ),
    ),
    Advisory(
        "CVE-2025-43859 (h11)",
        "malformed chunks were accepted",
        (
            *_requests("chunk without its end", "chunk that is longer"),
            *_both("hostile/test_handshakes.py::test_h11_is_new_enough"),
        ),
    ),
    Advisory(
        "R-C1: Pings and Pongs in great numbers",
        "answers without limit, and a loop that is held up",
        (
            *_floods("Pings", "Pongs"),
            *_both("_core/test_protocol.py::test_many_frames_are_taken_in_steps"),
            *_both(
                "test_connection.py::"
                "test_burst_of_pings_above_the_write_limit_is_answered_by_the_newest"
            ),
        ),
    ),
    Advisory(
        "R-B3: messages that nobody receives",
        "what was unread had no limit in bytes, or in number",
        (
            *_both("test_connection_receive.py::test_peer_has_to_wait_once_the_inbox_is_full"),
            *_both(
                "test_connection_receive.py::"
                "test_message_of_max_size_is_received_and_one_byte_more_fails"
            ),
            *_floods(
                "empty messages, unread",
                "two-byte messages, unread",
                "messages of 1 KiB, unread",
                "messages of 1 MiB, unread",
                "wide texts that nobody receives",
                "no limit, nobody receives",
            ),
        ),
    ),
    Advisory(
        "Half-open connections",
        "a peer that was gone was never noticed",
        (
            *_server(
                "hostile/test_handshakes.py::test_peer_that_is_gone_leaves_no_handshake_behind"
            ),
            *_both("test_stalled_peers.py::test_pulled_cable_is_noticed_at_both_ends"),
            *_both("test_keepalive.py::test_stalled_peer_is_given_up_on_every_loop"),
        ),
    ),
    Advisory(
        "Garbage before, during and after the handshake",
        "crashes, and ends that nobody was told of",
        (
            *_requests("garbage", "words", "draft 76"),
            *_server(
                "hostile/test_frames.py::"
                "test_garbage_behind_the_request_fails_that_connection_alone"
            ),
            *_client("hostile/test_frames.py::test_garbage_behind_the_answer_fails_the_connection"),
            *_floods("garbage for a request", "garbage for an answer", "slow text that is none"),
        ),
    ),
)
