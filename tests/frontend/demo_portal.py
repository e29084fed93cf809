"""The demo's JSON interface with a client, a card and an answer that comes at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.frontend.conftest import operator_page, render
from tests.frontend.site import Handler, Reply, Request, Site, as_json

DEMO_TOKEN = "demo-token"
SID = "a1b2c3d4e5f60718293a4b5c6d7e8f90"


class DemoPortal:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.rev = 1
        self.mode = "suggest"
        self.chats: list[dict[str, Any]] = []
        self.phone = ""
        self.timeline: list[dict[str, str]] = []
        self.typing = False
        site.routes |= {
            "/demo/": self.page,
            "/demo/state": self.state,
            "/demo/say": self.guarded(self.say),
            "/demo/operator": self.guarded(self.operator_say),
            "/demo/mode": self.guarded(self.set_mode),
            "/demo/frame": self.guarded(self.frame),
            "/demo/reset": self.guarded(self.reset),
            "/entry": operator_page,
        }

    @staticmethod
    def guarded(handler: Callable[[dict[str, Any]], Reply]) -> Handler:
        def answer(request: Request) -> Reply:
            if request.method != "POST" or request.headers.get("x-demo-token") != DEMO_TOKEN:
                return Reply(status=403)
            return handler(json.loads(request.body))

        return answer

    def page(self, request: Request) -> Reply:
        page = Reply(
            render(
                "demo/index.html",
                language=request.query.get("language", "en"),
                demo={
                    "token": DEMO_TOKEN,
                    "state_url": "/demo/state",
                    "say_url": "/demo/say",
                    "operator_say_url": "/demo/operator",
                    "mode_url": "/demo/mode",
                    "frame_url": "/demo/frame",
                    "reset_url": "/demo/reset",
                    "portal_frame_url": "/portal_frame.js",
                    "install_url": "/install/",
                    "languages": [
                        {"code": "en", "title": "EN", "url": "?language=en", "current": True},
                        {"code": "ru", "title": "RU", "url": "?language=ru"},
                    ],
                },
            )
        )
        # The portal's page may post into the app's site and show it.
        page.headers["X-Allow-Frame"] = self.site.app
        return page

    def state(self, request: Request) -> Reply:
        if request.query.get("since") == str(self.rev):
            return Reply(status=204)
        item = {
            "type": "Сделка", "id": 7, "title": "Заявка с сайта",
            "fields": [
                {"name": "NAME", "title": "Имя", "value": "Анна"},
                {"name": "PHONE", "title": "Телефон", "value": self.phone},
                {"name": "ADDRESS", "title": "Адрес", "value": "Садовая, 12"},
                {"name": "BUDGET", "title": "Бюджет", "value": ""},
            ],
        }  # fmt: skip
        return as_json({
            "rev": self.rev, "chats": self.chats, "item": item if self.chats else None,
            "timeline": self.timeline, "line": {"id": 1, "mode": self.mode},
            "model": {"name": "demo-rules-1", "demo": True}, "typing": self.typing,
        })  # fmt: skip

    def say(self, data: dict[str, Any]) -> Reply:
        chat = next((chat for chat in self.chats if chat["id"] == data["chat_id"]), None)
        if chat is None:
            number = len(self.chats) + 1
            chat = {
                "id": number,
                "title": ["Анна Смирнова", "Иван Петров"][number % 2 - 1],
                "messages": [],
            }
            self.chats.append(chat)
        self._add(chat, "client", chat["title"], data["text"])
        self.timeline = [
            {
                "at": "2026-11-22T10:00:00Z",
                "title": "Помощник",
                "text": "Тема: доставка. Телефон и адрес найдены.",
            }
        ]
        return as_json({"chat_id": chat["id"]})

    def operator_say(self, data: dict[str, Any]) -> Reply:
        chat = next(chat for chat in self.chats if chat["id"] == data["chat_id"])
        self._add(chat, "operator", "Ирина", data["text"])
        return Reply(status=204)

    def _add(self, chat: dict[str, Any], author: str, name: str, text: str) -> None:
        messages = chat["messages"]
        messages.append(
            {
                "id": len(messages) + 1,
                "author": author,
                "name": name,
                "text": text,
                "at": "2026-11-22T10:00:00Z",
            }
        )
        self.rev += 1

    def set_mode(self, data: dict[str, Any]) -> Reply:
        self.mode = data["mode"]
        self.rev += 1
        return Reply(status=204)

    def frame(self, data: dict[str, Any]) -> Reply:
        path = "/page/styleguide" if data["role"] == "admin" else "/entry"
        host = f"127.0.0.1:{self.site.port}"
        auth = {"AUTH_ID": "signed", "AUTH_EXPIRES": "3600", "REFRESH_ID": "again"}
        return as_json(
            {
                "action": f"{self.site.app}{path}?DOMAIN={host}&PROTOCOL=0&LANG=en&APP_SID={SID}",
                "fields": {**auth, "PLACEMENT": data["placement"], "PLACEMENT_OPTIONS": "{}"},
                "window_name": f"{host}|0|{SID}",
                "sid": SID,
                "auth": {**auth, "AUTH_ID": "signed-again"},
            }
        )

    def reset(self, data: dict[str, Any]) -> Reply:
        self.chats, self.phone, self.timeline = [], "", []
        self.rev += 1
        return Reply(status=204)
