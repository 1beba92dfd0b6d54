using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using System.Threading.Channels;
using Doppel.Api;
using Doppel.Vmm;
using Microsoft.AspNetCore.Http;

namespace Doppel.Daemon;

/// <summary>What a request says, checked, and how it is answered.</summary>
internal static class HttpExchange
{
    internal static string Name(HttpContext context) => (string)context.Request.RouteValues["name"]!;

    internal static string Snapshot(HttpContext context) => (string)context.Request.RouteValues["snapshot"]!;

    internal static string OperationId(HttpContext context) => (string)context.Request.RouteValues["id"]!;

    internal static bool Flag(HttpContext context, string name) => context.Request.Query[name].ToString() switch
    {
        "" or "false" => false,
        "true" => true,
        string other => throw new ApiException(400, $"{name}={other}: true or false would be right"),
    };

    internal static TimeSpan Timeout(HttpContext context)
    {
        string text = context.Request.Query["timeout"].ToString();
        if (text.Length == 0)
            return TimeSpan.FromSeconds(30);
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int seconds) && seconds <= 86400
            ? TimeSpan.FromSeconds(seconds)
            : throw new ApiException(400, $"timeout={text}: 0 to 86400 seconds would be right");
    }

    internal static async Task<CreateRequest> ReadCreateAsync(HttpContext context)
    {
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted).ConfigureAwait(false);
        try
        {
            CreateRequest request = MachineSpecJson.Read(body.GetBuffer().AsMemory(0, (int)body.Length), ApiJson.Default.CreateRequest, "spec") ?? throw new ApiException(400, "the request's body is null; an object would be right");
            return request.Spec is null ? throw new ApiException(400, "the request's body: spec is null; an object would be right") : request;
        }
        catch (JsonException e)
        {
            throw new ApiException(400, $"the request's body: {e.Message}");
        }
    }

    internal static async Task<ArrivalRequest> ReadArrivalAsync(HttpContext context)
    {
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted).ConfigureAwait(false);
        try
        {
            ArrivalRequest request = ArrivalRequest.Read(body.GetBuffer().AsSpan(0, (int)body.Length));
            return request.Address is null || System.Net.IPAddress.TryParse(request.Address, out _) ? request : throw new ApiException(400, $"address {request.Address}: an IP address of this host would be right");
        }
        catch (JsonException e)
        {
            throw new ApiException(400, $"the request's body: {e.Message}");
        }
    }

    internal static async Task<T> ReadAsync<T>(HttpContext context, JsonTypeInfo<T> type)
        where T : class
    {
        try
        {
            return await JsonSerializer.DeserializeAsync(context.Request.Body, type, context.RequestAborted).ConfigureAwait(false) ?? throw new ApiException(400, "the request's body is null; an object would be right");
        }
        catch (JsonException e)
        {
            throw new ApiException(400, $"the request's body: {e.Message}");
        }
    }

    /// <summary>A body that may be left out.</summary>
    internal static async Task<T> ReadOrAsync<T>(HttpContext context, JsonTypeInfo<T> type, T otherwise)
        where T : class => context.Request.ContentLength is null or 0 && context.Request.Headers.TransferEncoding.Count == 0 ? otherwise : await ReadAsync(context, type).ConfigureAwait(false);

    internal static Task WriteAsync<T>(HttpContext context, T value, JsonTypeInfo<T> type, int status = 200)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "application/json";
        return context.Response.WriteAsync(JsonSerializer.Serialize(value, type) + "\n", context.RequestAborted);
    }

    /// <summary>Sends what comes through a channel as server-sent events, until it is complete or nobody listens.</summary>
    internal static async Task SendEventsAsync<T>(HttpContext context, ChannelReader<T> events, JsonTypeInfo<T> type, CancellationToken stopping)
    {
        try
        {
            using var end = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, stopping);
            context.Response.ContentType = "text/event-stream";
            await context.Response.Body.FlushAsync(end.Token).ConfigureAwait(false);
            await foreach (T happened in events.ReadAllAsync(end.Token).ConfigureAwait(false))
            {
                await context.Response.WriteAsync($"data: {JsonSerializer.Serialize(happened, type)}\n\n", end.Token).ConfigureAwait(false);
                await context.Response.Body.FlushAsync(end.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // Nobody listens any more, or the daemon ends.
        }
    }
}
