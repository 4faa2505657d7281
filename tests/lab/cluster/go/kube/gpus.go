package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	deviceplugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const (
	resource = "nvidia.com/gpu"
	endpoint = "isthmus-lab-gpus.sock"
	lookEach = 500 * time.Millisecond
)

// plugin offers devices that are not there. Kubelet counts them, gives them out and loses them as it does real ones.
type plugin struct {
	deviceplugin.UnimplementedDevicePluginServer
	count    int
	lostPath string // a file with the numbers of devices that are broken, by white space; none where there is no file
}

func (*plugin) GetDevicePluginOptions(context.Context, *deviceplugin.Empty) (*deviceplugin.DevicePluginOptions, error) {
	return &deviceplugin.DevicePluginOptions{}, nil
}

func (p *plugin) lost() ([]string, error) {
	text, err := os.ReadFile(p.lostPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(text)), err
}

func (p *plugin) devices(lost []string) []*deviceplugin.Device {
	made := make([]*deviceplugin.Device, p.count)
	for number := range made {
		id := strconv.Itoa(number)
		made[number] = &deviceplugin.Device{ID: id, Health: deviceplugin.Healthy}
		if slices.Contains(lost, id) {
			made[number].Health = deviceplugin.Unhealthy
		}
	}
	return made
}

// ListAndWatch says how the devices are whenever that changes, for as long as kubelet listens.
func (p *plugin) ListAndWatch(
	_ *deviceplugin.Empty, kubelet grpc.ServerStreamingServer[deviceplugin.ListAndWatchResponse],
) error {
	ticker := time.NewTicker(lookEach)
	defer ticker.Stop()
	var told []string
	for first := true; ; first = false {
		lost, err := p.lost()
		if err != nil {
			return err
		}
		if first || !slices.Equal(lost, told) {
			told = lost
			if err := kubelet.Send(&deviceplugin.ListAndWatchResponse{Devices: p.devices(lost)}); err != nil {
				return err
			}
		}
		select {
		case <-kubelet.Context().Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Allocate tells containers which devices they got, as NVIDIA's plugin does.
func (*plugin) Allocate(
	_ context.Context, asked *deviceplugin.AllocateRequest,
) (*deviceplugin.AllocateResponse, error) {
	answer := &deviceplugin.AllocateResponse{}
	for _, container := range asked.ContainerRequests {
		visible := map[string]string{"NVIDIA_VISIBLE_DEVICES": strings.Join(container.DevicesIds, ",")}
		answer.ContainerResponses = append(answer.ContainerResponses,
			&deviceplugin.ContainerAllocateResponse{Envs: visible})
	}
	return answer, nil
}

// serveGPUs offers the devices to this node's kubelet until it is killed. arguments: COUNT LOST_FILE
func serveGPUs(arguments []string) error {
	if len(arguments) != 2 {
		return errors.New("usage: gpu-plugin COUNT LOST_FILE")
	}
	count, err := strconv.Atoi(arguments[0])
	if err != nil || count < 0 {
		return fmt.Errorf("COUNT is %q; give a number of devices", arguments[0])
	}
	path := deviceplugin.DevicePluginPath + endpoint
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	deviceplugin.RegisterDevicePluginServer(server, &plugin{count: count, lostPath: arguments[1]})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	if err := register(); err != nil {
		return err
	}
	return <-ended
}

func register() error {
	connection, err := grpc.NewClient("unix://"+deviceplugin.KubeletSocket,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	asked := &deviceplugin.RegisterRequest{Version: deviceplugin.Version, Endpoint: endpoint, ResourceName: resource}
	_, err = deviceplugin.NewRegistrationClient(connection).Register(context.Background(), asked, grpc.WaitForReady(true))
	return err
}
