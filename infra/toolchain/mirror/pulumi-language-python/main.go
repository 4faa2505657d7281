// Command pulumi-language-python runs Python programs and Python plugins for the Pulumi engine, with one interpreter:
// $PULUMI_PYTHON_CMD, or python3 on PATH. The engine starts it with the engine's own address and reads the port it
// serves on from its first line. Everything it has started ends with the engine, however the engine ends.
//
// The protocol is pulumi/language.proto. What the engine can do without (installing dependencies, generating code,
// listing the plugins of every installed SDK) is left unimplemented, which the protocol allows.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/version"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	shownToUser     = 32 // exit status of a program whose error the user has already been shown
	maxMessageBytes = 400 << 20
	healthInterval  = time.Second
	// A plugin notices by itself that its engine is gone, and gets this long to stop what it runs.
	pluginGrace = 10 * time.Second
)

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("no engine address; the Pulumi engine starts this command"))
	}
	// the engine adds flags, such as -tracing=ADDRESS, before its address
	if err := serve(os.Args[len(os.Args)-1]); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pulumi-language-python:", err)
	os.Exit(1)
}

func serve(engine string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	alive, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := rpcutil.Healthcheck(alive, engine, healthInterval, stop); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessageBytes), grpc.WaitForHandlers(true))
	pulumirpc.RegisterLanguageRuntimeServer(server, &host{
		engine: engine,
		runner: filepath.Join(filepath.Dir(self), "pulumi-language-python-exec"),
	})
	context.AfterFunc(alive, server.Stop) // cancels the calls, and with them the commands they run
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	return server.Serve(listener)
}

type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer
	engine string // address
	runner string // the script that runs a program against the engine
}

// python is the command `python ARGS`, unbuffered, which ends with the context.
func python(ctx context.Context, info *pulumirpc.ProgramInfo, args ...string) (*exec.Cmd, error) {
	for option := range info.GetOptions().GetFields() {
		return nil, fmt.Errorf("runtime option %q is not supported: remove it from %s, the interpreter is "+
			"PULUMI_PYTHON_CMD or python3 on PATH", option, info.GetRootDirectory())
	}
	path, err := exec.LookPath(cmp.Or(os.Getenv("PULUMI_PYTHON_CMD"), "python3"))
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, path, append([]string{"-u"}, args...)...), nil
}

func (h *host) Run(ctx context.Context, req *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	config, err := json.Marshal(orEmpty(req.GetConfig()))
	if err != nil {
		return nil, err
	}
	secretKeys, err := json.Marshal(append([]string{}, req.GetConfigSecretKeys()...))
	if err != nil {
		return nil, err
	}
	info := req.GetInfo()
	cmd, err := python(ctx, info, append([]string{
		h.runner,
		"--engine", h.engine,
		"--monitor", req.GetMonitorAddress(),
		"--organization", req.GetOrganization(),
		"--project", req.GetProject(),
		"--stack", req.GetStack(),
		"--root_directory", info.GetRootDirectory(),
		"--pwd", req.GetPwd(),
		"--dry_run", strconv.FormatBool(req.GetDryRun()),
		"--parallel", strconv.Itoa(int(req.GetParallel())),
		info.GetEntryPoint(),
	}, req.GetArgs()...)...)
	if err != nil {
		return nil, err
	}
	cmd.Env = append(os.Environ(), "PULUMI_CONFIG="+string(config), "PULUMI_CONFIG_SECRET_KEYS="+string(secretKeys))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr // which the engine shows

	var exit *exec.ExitError
	switch err := cmd.Run(); {
	case err == nil:
		return &pulumirpc.RunResponse{}, nil
	case errors.As(err, &exit) && exit.ExitCode() == shownToUser:
		return &pulumirpc.RunResponse{Bail: true}, nil
	default:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("the program ended with %v", err)}, nil
	}
}

// orEmpty keeps a missing map from becoming JSON's null, which programs do not expect.
func orEmpty(values map[string]string) map[string]string {
	if values == nil {
		return map[string]string{}
	}
	return values
}

// RunPlugin runs the plugin (a provider, a policy pack) whose Python package is the program's folder.
func (h *host) RunPlugin(
	req *pulumirpc.RunPluginRequest, stream grpc.ServerStreamingServer[pulumirpc.RunPluginResponse],
) error {
	folder := req.GetInfo().GetProgramDirectory()
	args := append([]string{folder}, req.GetArgs()...)
	if req.GetKind() == "analyzer" { // the SDK is the entry point of a policy pack
		args = append(append([]string{"-m", "pulumi.policy"}, req.GetArgs()...), folder)
	}
	cmd, err := python(stream.Context(), req.GetInfo(), args...)
	if err != nil {
		return err
	}
	output, stdout, stderr, err := rpcutil.MakeRunPluginStreams(stream, false)
	if err != nil {
		return err
	}
	defer output.Close()
	cmd.Dir = req.GetPwd()
	cmd.Env = append(os.Environ(), req.GetEnv()...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Cancel = func() error { return nil }
	cmd.WaitDelay = pluginGrace

	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return err
	}
	code := int32(cmd.ProcessState.ExitCode())
	return stream.Send(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Exitcode{Exitcode: code}})
}

func (h *host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version.Version}, nil
}
