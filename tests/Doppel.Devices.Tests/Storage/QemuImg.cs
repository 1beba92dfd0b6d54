using System.Diagnostics;
using Xunit.Sdk;

namespace Doppel.Devices.Tests.Storage;

/// <summary>Runs qemu-img and its companions, which ./test installs.</summary>
internal static class QemuImg
{
    /// <summary>Runs qemu-img, which must succeed.</summary>
    internal static string Run(params string[] arguments)
    {
        (int code, string said) = Try("qemu-img", arguments);
        return code == 0 ? said : throw new XunitException($"qemu-img {string.Join(' ', arguments)} ended with {code}: {said}");
    }

    /// <summary>Runs a program.</summary>
    internal static (int Code, string Said) Try(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.Result);
    }

    /// <summary>The whole disk of an image as QEMU reads it.</summary>
    internal static byte[] ReadAll(string path, string format, StorageDirectory directory)
    {
        string raw = directory["read-by-qemu.raw"];
        _ = Run("convert", "-f", format, "-O", "raw", path, raw);
        byte[] bytes = File.ReadAllBytes(raw);
        File.Delete(raw);
        return bytes;
    }
}
