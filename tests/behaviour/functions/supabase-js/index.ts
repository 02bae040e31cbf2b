import { createClient } from "npm:@supabase/supabase-js@2";

const supabase = createClient(Deno.env.get("GATE_URL")!, Deno.env.get("SUPABASE_SERVICE_ROLE_KEY")!);

Deno.serve(async (req) => {
  const { user } = await req.json();
  EdgeRuntime.waitUntil(supabase.from("ai_runs").insert({ user_id: user }), { name: "insert" });
  return Response.json({ accepted: user });
});
