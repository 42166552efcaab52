"""The settings card names what a mail client asks for."""

from __future__ import annotations

from sekisho.text import settings_card


def test_the_card_names_every_box_of_the_dialog() -> None:
    card = settings_card("en", host="mail.example.jp", submissions=465, submission=587, login="rin@example.jp")
    for text in ("mail.example.jp", "465", "SSL/TLS", "or 587", "or STARTTLS", "Normal password", "rin@example.jp"):
        assert text in card
    assert "  Password  " not in card


def test_a_closed_port_is_not_named() -> None:
    card = settings_card("ja", host="mail.example.jp", submissions=None, submission=587, login="rin@example.jp")
    assert "SSL/TLS" not in card
    assert "または" not in card
    assert "587" in card


def test_columns_line_up_in_japanese() -> None:
    card = settings_card(
        "ja", host="host", submissions=465, submission=None, login="login", address="address", password="password"
    )
    assert "メールアドレス       address" in card
    assert "送信サーバー (SMTP)  host" in card
    assert "パスワード           password" in card
