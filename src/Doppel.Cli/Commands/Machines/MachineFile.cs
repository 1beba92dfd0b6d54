using System.Text.Json;
using Doppel.Api;
using Doppel.Vmm;

namespace Doppel.Cli.Commands.Machines;

/// <summary>A file that describes a machine, in YAML or JSON.</summary>
internal static class MachineFile
{
    /// <summary>Reads it; paths in it are below its folder.</summary>
    /// <exception cref="CliException">It can't be read, or a line of it is wrong: that and the field are named.</exception>
    internal static CreateRequest Read(string path)
    {
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCode.Input, $"{path}: can't be read: {e.Message}", e);
        }

        YamlToJson? yaml = null;
        try
        {
            // JSON has messages of its own, though it is YAML, too.
            if (bytes.AsSpan().TrimStart(" \t\r\n"u8) is not [(byte)'{', ..])
                yaml = YamlToJson.Convert(bytes);
            CreateRequest request = MachineSpecJson.Read(yaml?.Json ?? bytes, ApiJson.Default.CreateRequest, "spec") ?? throw new JsonException("the file is empty");
            return request with { Spec = request.Spec.WithFullPaths(Path.GetDirectoryName(Path.GetFullPath(path))) };
        }
        catch (YamlException e)
        {
            throw new CliException(ExitCode.Usage, $"{path}: line {e.Line}: {e.Message}", e);
        }
        catch (JsonException e)
        {
            long? number = yaml is null ? e.LineNumber + 1 : yaml.LineOf(e.Path);
            string line = number is null ? "" : $" line {number}:";
            throw new CliException(ExitCode.Usage, $"{path}:{line} {e.Path ?? ""}: {e.Message.Split(" Path:")[0]}", e);
        }
    }
}
