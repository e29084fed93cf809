"""Addresses that machines call."""

from django.urls import path

from bx_gpt_app.inbox import views

urlpatterns = [
    path("b24/<slug:app>/events/", views.event),
    path("b24/<slug:app>/robot/<str:code>/", views.event),
    path("hooks/<str:public_id>/", views.ask_hook),
    path("hooks/<str:public_id>/<uuid:call_id>/", views.hook_answer),
]
