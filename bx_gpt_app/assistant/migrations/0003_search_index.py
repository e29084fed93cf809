"""Fill in what snippets are found by and build the database's own full text index over it."""

from django.db import migrations

from bx_gpt_app.assistant import search

CHUNK = 500


def fill_stems(apps, schema_editor):
    snippet = apps.get_model("assistant", "Snippet")
    for row in snippet.objects.iterator(chunk_size=CHUNK):
        row.save(update_fields=["stems"])


def build(apps, schema_editor):
    search.build(schema_editor.connection)


def drop(apps, schema_editor):
    search.drop(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [
        ("assistant", "0002_knowledge_search"),
    ]

    operations = [
        migrations.RunPython(fill_stems, migrations.RunPython.noop),
        migrations.RunPython(build, drop),
    ]
