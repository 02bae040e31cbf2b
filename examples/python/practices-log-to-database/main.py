from _shared.work import profile, supabase_admin, user

from outlast import EdgeRuntime, Request, Response, serve


@serve
async def handler(request: Request) -> Response:
    EdgeRuntime.wait_until(
        supabase_admin.table("ai_runs")
        .insert({"user_id": user["id"], "org_id": profile["org_id"], "agent_name": "ProfileExtractor"})
        .execute()
    )
    return Response.json({"ok": True})
