using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Doppel.Api;

namespace Doppel.Daemon.Tests;

/// <summary>Requests that the API's own description makes up, right and wrong, and many clients at once: the daemon answers each, and never with a fault of its own.</summary>
public sealed class FuzzTests
{
    private const int Requests = 400;

    [Fact]
    public async Task No_request_that_the_description_makes_up_is_a_fault_of_the_daemon()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        await using var daemon = new DaemonFixture();
        _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec("one") }, default);
        using HttpClient http = Http(daemon.Location.Socket);
        JsonNode description = JsonNode.Parse(await http.GetStringAsync("v1/openapi.json"))!;
        (string Path, string Method, JsonNode Call)[] calls =
        [
            .. description["paths"]!.AsObject()
                .Where(path => path.Key is not ("/v1/daemon/stop" or "/v1/events") && !path.Key.EndsWith("/events", StringComparison.Ordinal))
                .SelectMany(path => path.Value!.AsObject().Select(call => (path.Key, call.Key, call.Value!))),
        ];
        for (int i = 0; i < Requests; i++)
        {
            (string path, string method, JsonNode call) = calls[random.Next(calls.Length)];
            var query = new List<string>();
            foreach (JsonNode? parameter in call["parameters"]?.AsArray() ?? [])
            {
                string name = (string)parameter!["name"]!, value = name switch
                {
                    "name" => Pick(random, "one", "one", "two", "..", "a/b", "\0", new string('x', 300)),
                    "snapshot" => Pick(random, "s1", "s2", "..", ".new-1", "\0"),
                    "id" => Pick(random, "1", "2", "-1", "x"),
                    "timeout" => Pick(random, "0", "0", "-1", "1e9", "x"),
                    // A log that is followed has no end.
                    "follow" => Pick(random, "false", "x", ""),
                    _ => Pick(random, "true", "false", "x", ""),
                };
                if ((string)parameter["in"]! == "path")
                    path = path.Replace($"{{{name}}}", Uri.EscapeDataString(value), StringComparison.Ordinal);
                else if (random.Next(4) != 0)
                    query.Add($"{name}={Uri.EscapeDataString(value)}");
            }

            if (query.Count == 0 && path.EndsWith("/stop", StringComparison.Ordinal))
                query.Add("timeout=0");
            string? body = call["requestBody"]?["content"]?["application/json"]?["schema"] is JsonNode schema ? Break(random, Make(random, description, schema, 0)) : null;
            using var request = new HttpRequestMessage(new HttpMethod(method.ToUpperInvariant()), query.Count == 0 ? path : $"{path}?{string.Join('&', query)}");
            if (body is not null)
                request.Content = new StringContent(body, Encoding.UTF8, "application/json");
            HttpResponseMessage response;
            try
            {
                response = await http.SendAsync(request).WaitAsync(TimeSpan.FromMinutes(1));
            }
            catch (HttpRequestException e)
            {
                // What is no request of HTTP is refused at its first line, perhaps before its body could be sent.
                Assert.True(path.Contains("%00", StringComparison.Ordinal) && !daemon.Daemon.HasExited, $"seed {seed}, request {i}: {method} {request.RequestUri} {body}: {e}");
                continue;
            }

            using HttpResponseMessage ends = response;
            string answer = await response.Content.ReadAsStringAsync();
            Assert.True((int)response.StatusCode < 500, $"seed {seed}, request {i}: {method} {request.RequestUri} {body}: {response.StatusCode} {answer}");
            // The server itself answers what is no request of HTTP, without a word.
            if ((int)response.StatusCode >= 400 && answer.Length != 0)
                Assert.True(JsonSerializer.Deserialize(answer, ApiJson.Default.ApiError)!.Error.Length > 0, $"seed {seed}, request {i}");
        }

        foreach (Operation operation in await daemon.Client.ListOperationsAsync(default))
        {
            Operation ended = await daemon.Client.FollowAsync(operation.Id, null, default).WaitAsync(TimeSpan.FromMinutes(1));
            Assert.True(ended.Status is null or < 500, $"seed {seed}: {ended}");
        }

        Assert.False(daemon.Daemon.HasExited);
    }

    [Fact]
    public async Task Fifty_clients_at_once_are_answered_and_leave_machines_that_work()
    {
        const int Clients = 50, Calls = 6;
        int seed = Environment.TickCount;
        await using var daemon = new DaemonFixture();
        string[] names = ["one", "two", "three"];
        foreach (string name in names)
            _ = await daemon.Client.CreateAsync(new CreateRequest { Spec = daemon.Spec(name) }, default);
        await Task.WhenAll(Enumerable.Range(0, Clients).Select(client => Task.Run(async () =>
        {
            var random = new Random(seed + client);
            using var connection = new DaemonClient(daemon.Location.Socket);
            for (int i = 0; i < Calls; i++)
            {
                string name = names[random.Next(names.Length)];
                try
                {
                    _ = random.Next(10) switch
                    {
                        0 => await connection.DoAsync(name, "start", default),
                        1 => await connection.DoAsync(name, "kill", default),
                        2 => await connection.DoAsync(name, "pause", default),
                        3 or 4 => await connection.DoAsync(name, "resume", default),
                        5 => (object)await connection.SnapshotAsync(name, new SnapshotRequest { Name = $"c{client}-{i}" }, default),
                        6 => await connection.UpdateAsync(name, new UpdateRequest { Engine = Pick(random, "interpreter", "translator") }, default),
                        7 => await connection.ListSnapshotsAsync(name, default),
                        _ => await connection.ListAsync(default),
                    };
                }
                catch (ApiException e)
                {
                    // What another client has done stands in the way; no more than that.
                    Assert.True(e.Status == 409, $"seed {seed}, client {client}, call {i}: {e.Status} {e.Message}");
                }
            }
        }))).WaitAsync(TimeSpan.FromMinutes(3));
        foreach (string name in names)
        {
            if ((await daemon.Client.GetAsync(name, default)).ProcessId is not null)
                _ = await daemon.Client.DoAsync(name, "kill", default);
            _ = await daemon.Client.DoAsync(name, "start", default);
            Assert.Equal('b', await daemon.EchoAsync(name, 'a'));
        }
    }

    private static string Pick(Random random, params string[] choices) => choices[random.Next(choices.Length)];

    // A value that a schema describes, or nearly.
    private static JsonNode? Make(Random random, JsonNode description, JsonNode schema, int depth)
    {
        if ((string?)schema["$ref"] is string reference)
            schema = description["components"]!["schemas"]![reference.Split('/')[^1]]!;
        if (depth > 6 || random.Next(40) == 0)
            return null;
        if (schema["enum"] is JsonArray values && random.Next(10) != 0)
            return values[random.Next(values.Count)]!.DeepClone();
        switch (random.Next(25) == 0 ? Pick(random, "string", "integer", "array", "object") : (string?)schema["type"])
        {
            case "boolean":
                return random.Next(2) == 0;
            case "integer":
                return JsonNode.Parse(Pick(random, "0", "1", "-1", "16777216", "4096", "9223372036854775807", "65", "4095"));
            case "number":
                return JsonNode.Parse(Pick(random, "0", "0.5", "-1", "1e300", "1"));
            case "string":
                return Pick(random, "", "one", "two", "/nonexistent", "interpreter", "\u0000", new string('y', 5000), "../..", "é");
            case "array":
                return new JsonArray([.. Enumerable.Range(0, random.Next(3)).Select(_ => schema["items"] is JsonNode items ? Make(random, description, items, depth + 1) : null)]);
            default:
                var made = new JsonObject();
                var required = (schema["required"] as JsonArray ?? []).Select(each => (string)each!).ToHashSet();
                foreach ((string name, JsonNode? field) in schema["properties"] as JsonObject ?? [])
                {
                    if (required.Contains(name) ? random.Next(20) != 0 : random.Next(3) == 0)
                        made[name] = Make(random, description, field!, depth + 1);
                }

                if (random.Next(20) == 0)
                    made["unknown"] = 1;
                return made;
        }
    }

    private static string Break(Random random, JsonNode? value)
    {
        string text = value?.ToJsonString() ?? "null";
        return random.Next(15) switch
        {
            0 => text[..(text.Length / 2)],
            1 => new string('[', 200),
            2 => text + text,
            _ => text,
        };
    }

    private static HttpClient Http(string socket) => new(new SocketsHttpHandler
    {
        ConnectCallback = async (_, cancel) =>
        {
            var connection = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await connection.ConnectAsync(new UnixDomainSocketEndPoint(socket), cancel);
            return new NetworkStream(connection, ownsSocket: true);
        },
    })
    { BaseAddress = new Uri("http://doppel/") };
}
